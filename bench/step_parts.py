"""The parts of a GRPO step that the benchmarks time: a policy with one prompt, its passes, and pairs of timings."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from videossr.models.attention import use_branched_attention
from videossr.models.backbone import backbone
from videossr.models.encode_prompt import EncodedPrompt
from videossr.models.generation import Decoding
from videossr.train.prefix import Group, shared_logps

Work = Callable[[], float | None]
GROUP, COMPLETION = 8, 12  # completions per prompt, tokens per completion
FRAMES, SIDE = 48, 256  # the paper's training prompt: some 1,900 tokens


@dataclass(frozen=True)
class Subject:
    """A policy and a prompt, the input of both sides."""

    model: Any
    prompt: EncodedPrompt
    vocabulary: int

    def group(self, seed: int = 0) -> Group:
        """The prompt with `GROUP` completions of random tokens."""
        generator = torch.Generator().manual_seed(seed)
        completions = torch.randint(7, self.vocabulary, (GROUP, COMPLETION), generator=generator)
        return Group(self.prompt, list(completions))


def forward_backward(subject: Subject, logps: Callable[..., Any], groups: int = 1) -> None:
    """Loss and gradient of some groups in one pass."""
    subject.model.zero_grad(set_to_none=True)
    values, _ = logps(subject.model, [subject.group()] * groups, 0)
    values.sum().backward()


def forward_backward_dense(subject: Subject) -> None:
    """Loss and gradient of one packed group, with one dense attention mask over all tokens."""
    backbone(subject.model).set_attn_implementation({"text_config": "sdpa"})
    forward_backward(subject, shared_logps)
    use_branched_attention(subject.model)


def forward(subject: Subject, logps: Callable[..., Any], groups: int = 1) -> None:
    """Log-probabilities of some groups without a gradient."""
    with torch.no_grad():
        logps(subject.model, [subject.group()] * groups, 0)


def roll_out(subject: Subject, generate: Callable[..., Any], prompts: int = 1) -> None:
    """Sample the completions of `prompts` groups in one batch, each of exactly `COMPLETION` tokens."""
    decoding = Decoding(COMPLETION, temperature=1.0, end_ids=(), suppressed_ids=(), pad_id=0)
    generate(subject.model, [subject.prompt] * prompts, GROUP, decoding, range(prompts))


def time_pairs(ours: Work, theirs: Work, repeats: int) -> tuple[float, float, float]:
    """Median seconds of both sides and the median of their ratio, over pairs; one pair before them is not counted."""
    ours()
    theirs()
    pairs = [(seconds_of(ours), seconds_of(theirs)) for _ in range(repeats)]
    our_seconds, their_seconds = (statistics.median(side) for side in zip(*pairs, strict=True))
    return our_seconds, their_seconds, statistics.median(theirs / ours for ours, theirs in pairs)


def seconds_of(work: Work) -> float:
    """The seconds that `work` returns, or, where it returns None, the seconds that it takes."""
    synchronize()
    start = time.perf_counter()
    own_seconds = work()
    synchronize()
    return time.perf_counter() - start if own_seconds is None else own_seconds


def synchronize() -> None:
    """Wait until the GPU, if there is one, has finished its queued work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
