"""The cost of one prompt with eight completions: with a shared prefix against repeating the prompt, in one process.

    python -m bench.grpo_step              on a CPU: a tiny policy with the paper's prompt, about fifteen minutes
    python -m bench.grpo_step --quick      the same with short prompts: a minute; the ratios are smaller
    python -m bench.grpo_step --gpu Qwen/Qwen3-VL-2B-Instruct Qwen/Qwen3-VL-8B-Instruct
                                           with CUDA: these architectures with random bfloat16 weights

`fwd_bwd` is the forward and backward pass of the loss, against one padded row a completion. `attention` is the same
pass, in two attention passes against one dense mask. `rollout` is against generating every row from its own copy of
prompt and video, as TRL does. `step` is a whole optimizer step with KL divergence, against TRL's step with the video
passed to the model. Both sides alternate; figures are medians over the pairs. Updates its rows in
`reports/bench/grpo_step.json`: a list of {name, ours, theirs, ratio, unit}.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, GenerationConfig, TrainerCallback
from trl.trainer.utils import add_fused_lm_head, get_peak_flops

from bench.rows import Row, print_rows, update_rows
from videossr.clip import Clip
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.encode_prompt import EncodedPrompt, encode
from videossr.models.model_inputs import backbone
from videossr.models.policy import Prompt, render_prompt
from videossr.models.tiny_random import TinyRandomParams, write_tiny_random
from videossr.plan.architecture import meta_model
from videossr.pretext import Grounding
from videossr.records import FrameTimes, Sample
from videossr.train.attention import use_branched_attention
from videossr.train.build_trainer import build_trainer
from videossr.train.params import GrpoParams, TrainParams
from videossr.train.prefix import Group, repeated_logps, shared_logps
from videossr.train.progress import Progress
from videossr.train.rollout import repeated_rollout, shared_rollout

OUT = Path("reports/bench/grpo_step.json")
Work = Callable[[], float | None]
GROUP, COMPLETION = 8, 12  # completions a prompt, tokens a completion
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


def forward_backward(subject: Subject, logps: Callable[..., Any]) -> None:
    """Loss and gradient of one group."""
    subject.model.zero_grad(set_to_none=True)
    values, _ = logps(subject.model, [subject.group()], 0)
    values.sum().backward()


def forward_backward_dense(subject: Subject) -> None:
    """Loss and gradient of one packed group, with one dense attention mask over all tokens."""
    backbone(subject.model).set_attn_implementation({"text_config": "sdpa"})
    forward_backward(subject, shared_logps)
    use_branched_attention(subject.model)


def forward(subject: Subject, logps: Callable[..., Any]) -> None:
    """Log-probabilities of one group without a gradient."""
    with torch.no_grad():
        logps(subject.model, [subject.group()], 0)


def roll_out(subject: Subject, rollout: Callable[..., Any]) -> None:
    """Generate the completions of one group."""
    config = GenerationConfig(
        max_new_tokens=COMPLETION, min_new_tokens=COMPLETION, do_sample=True, pad_token_id=0, disable_compile=True
    )
    with torch.no_grad():
        rollout(subject.model, [subject.prompt], GROUP, config, 0)


def time_pairs(ours: Work, theirs: Work, repeats: int) -> tuple[float, float, float]:
    """Median seconds of both sides and the median of their ratio, over pairs; one pair before them is not counted."""
    ours()
    theirs()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    our_seconds, their_seconds = (statistics.median(side) for side in zip(*pairs, strict=True))
    return our_seconds, their_seconds, statistics.median(theirs / ours for ours, theirs in pairs)


def _seconds(work: Work) -> float:
    """The seconds that `work` returns, or, where it returns None, the seconds that it takes."""
    _synchronize()
    start = time.perf_counter()
    own_seconds = work()
    _synchronize()
    return time.perf_counter() - start if own_seconds is None else own_seconds


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compare_tiny(folder: Path, frames: int, side: int, repeats: int) -> list[Row]:
    """Rows of a tiny random policy on this machine's CPU."""
    sample, store = make_sample(frames, side)
    write_tiny_random(TinyRandomParams(), [f"{sample.question} {sample.answer}"], 0, folder)
    model, processor = load_model(folder, "float32"), load_processor(folder)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    use_branched_attention(model)
    subject = Subject(model.train(), encode(processor, _render(sample, store)), len(processor.tokenizer))
    unit = f"s, P = {len(subject.prompt)}, G = {GROUP}, C = {COMPLETION}, CPU"
    rows = []
    for name, work, implementations in (
        ("fwd_bwd", forward_backward, (shared_logps, repeated_logps)),
        ("rollout", roll_out, (shared_rollout, repeated_rollout)),
    ):
        shared, repeated = implementations
        timing = time_pairs(lambda: work(subject, shared), lambda: work(subject, repeated), repeats)  # noqa: B023
        rows.append(Row(name, *timing, unit))
    timing = time_pairs(
        lambda: forward_backward(subject, shared_logps), lambda: forward_backward_dense(subject), repeats
    )
    rows.append(Row("attention", *timing, unit))
    with_prefix, without = (_make_step(folder, shared, sample, store) for shared in ("on", "off"))
    return [*rows, Row("step", *time_pairs(with_prefix, without, repeats), unit)]


def make_sample(frames: int, side: int) -> tuple[Sample, dict[str, Clip]]:
    """A grounding sample of one video of noise, and the store that holds the video."""
    rng = np.random.default_rng(0)
    clip = Clip(rng.integers(0, 256, (frames, side, side, 3), np.uint8), np.arange(frames) * 0.5)
    task = Grounding(num_frames=frames, min_length=2, max_length=4)
    sample = task.generate(FrameTimes("noise", tuple(clip.times.tolist())), "mirror", rng)
    return sample, {"noise": clip}


def _render(sample: Sample, store: dict[str, Clip]) -> Prompt:
    return render_prompt(sample, Grounding(), store)


class _StepTimer(TrainerCallback):
    """Ends training after one step and records its seconds."""

    start = seconds = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.seconds = time.perf_counter() - self.start
        control.should_training_stop = True


def _make_step(folder: Path, shared: str, sample: Sample, store: dict[str, Clip]) -> Callable[[], float]:
    """A function that runs one whole optimizer step (rollout, reference, loss, update) and returns its seconds."""
    grpo = GrpoParams(
        steps=1000,
        prompts_per_step=1,
        group_size=GROUP,
        max_completion_tokens=COMPLETION,
        gradient_checkpointing=False,
        bf16=False,
        checkpoint_every=100_000,
    )
    params = TrainParams(policy=str(folder), shared_prefix=shared, grpo=grpo)  # type: ignore[arg-type]
    samples = [Sample(**{**vars(sample), "sample_id": str(i)}) for i in range(4)]
    work = folder / shared
    work.mkdir()
    trainer = build_trainer(
        params, samples, lambda s: _render(s, store), str(folder), work, "bench", None, lambda *_: None
    )
    timer = _StepTimer()
    trainer.remove_callback(Progress)
    trainer.add_callback(timer)

    def run() -> float:
        trainer.train()
        return timer.seconds

    return run


def compare_gpu(name: str, config: Any, repeats: int, frames: int = FRAMES, side: int = SIDE) -> list[Row]:
    """Rows of an architecture with random bfloat16 weights: seconds of each pass, and groups a second of all passes.

    The update of the weights is not measured: it costs the same on both sides.
    """
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    use_branched_attention(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    subject = Subject(model.train(), synthetic_prompt(config, frames, side), config.text_config.vocab_size)
    label = f"gpu_{name.rpartition('/')[2].lower().removesuffix('-instruct').replace('-', '_')}"
    passes = {
        "fwd_bwd": (forward_backward, (shared_logps, repeated_logps)),
        "reference": (forward, (shared_logps, repeated_logps)),
        "rollout": (_roll_out_with_cache, (shared_rollout, repeated_rollout)),
    }
    rows, peaks = [], []
    for part, (work, (shared, repeated)) in passes.items():
        peaks.append((_peak_memory(lambda: work(subject, shared)), _peak_memory(lambda: work(subject, repeated))))  # noqa: B023
        timing = time_pairs(lambda: work(subject, shared), lambda: work(subject, repeated), repeats)  # noqa: B023
        rows.append(Row(f"{label}_{part}", *timing, "s a group"))
    timing = time_pairs(
        lambda: forward_backward(subject, shared_logps), lambda: forward_backward_dense(subject), repeats
    )
    attention = Row(f"{label}_attention", *timing, "s a group, in two passes against one dense mask")
    return [*rows, attention, *_throughput_rows(label, subject, rows), _memory_row(label, peaks)]


def _roll_out_with_cache(subject: Subject, rollout: Callable[..., Any]) -> None:
    subject.model.gradient_checkpointing_disable()  # it forbids the cache
    roll_out(subject, rollout)
    subject.model.gradient_checkpointing_enable({"use_reentrant": False})


def _throughput_rows(label: str, subject: Subject, rows: Sequence[Row]) -> list[Row]:
    """Groups and tokens a second over all passes, and the share of the device's peak that is used.

    Useful operations are those that the shared prefix needs, for each parameter and token: 2 in each of the three
    forward passes (loss, reference, rollout) and 4 in the backward pass, 10 in all.
    """
    ours, theirs = (1 / sum(getattr(row, side) for row in rows) for side in ("ours", "theirs"))
    tokens = len(subject.prompt) + GROUP * COMPLETION
    parameters = sum(parameter.numel() for parameter in subject.model.parameters())
    throughput = [
        Row(f"{label}_groups", ours, theirs, ours / theirs, "groups/s"),
        Row(f"{label}_tokens", ours * tokens, theirs * tokens, ours / theirs, "distinct tokens/s"),
    ]
    peak = get_peak_flops(torch.cuda.get_device_name(), "bf16") if torch.cuda.is_available() else None
    if peak:
        share = 10 * parameters * tokens / peak
        unit = "of the device's bf16 peak"
        throughput.append(Row(f"{label}_mfu", ours * share, theirs * share, ours / theirs, unit))
    return throughput


def _peak_memory(work: Callable[[], None]) -> float:
    """Peak GiB of device memory while `work` runs; NaN without CUDA."""
    if not torch.cuda.is_available():
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30


def _memory_row(label: str, peaks: Sequence[tuple[float, float]]) -> Row:
    ours, theirs = (max(peak[side] for peak in peaks) for side in (0, 1))
    unit = "GiB, weights and gradients in bfloat16, no optimizer"
    return Row(f"{label}_peak_memory", ours, theirs, theirs / ours, unit)


def synthetic_prompt(config: Any, frames: int, side: int) -> EncodedPrompt:
    """A prompt of random tokens and pixels with the processor's layout. Needs no tokenizer."""
    vision = config.vision_config
    grid = side // vision.patch_size
    slices, tokens = frames // vision.temporal_patch_size, (grid // vision.spatial_merge_size) ** 2
    generator = torch.Generator().manual_seed(0)

    def text(count: int) -> torch.Tensor:
        return torch.randint(7, 1000 if config.text_config.vocab_size > 1000 else 200, (count,), generator=generator)

    start, end = torch.tensor([config.vision_start_token_id]), torch.tensor([config.vision_end_token_id])
    video = torch.full((tokens,), config.video_token_id)
    timed_slices = [part for _ in range(slices) for part in (text(8), start, video, end)]
    ids = torch.cat([text(40), *timed_slices, text(50)])
    pixels = torch.randn(
        slices * grid * grid,
        vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        generator=generator,
    )
    return EncodedPrompt(ids, 2 * (ids == config.video_token_id).long(), pixels, torch.tensor([[slices, grid, grid]]))


def report(rows: Sequence[Row]) -> None:
    """Print the rows and update them in the file."""
    print_rows(rows, "A GRPO step, against repeating the prompt")
    update_rows(OUT, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="16 frames of 64x64 instead of 48 of 256x256")
    parser.add_argument("--repeats", type=int, default=3, help="number of measured pairs")
    parser.add_argument("--gpu", nargs="*", default=[], metavar="POLICY", help="architectures to measure with CUDA")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        frames, side = (16, 64) if arguments.quick else (FRAMES, SIDE)
        with tempfile.TemporaryDirectory() as folder:
            report(compare_tiny(Path(folder), frames, side, arguments.repeats))
        if arguments.gpu:
            print("no CUDA device: the rows gpu_* stay as they are")
        return
    for name in arguments.gpu:
        report(compare_gpu(name, meta_model(name, TinyRandomParams(), ()).config, arguments.repeats))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
