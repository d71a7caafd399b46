"""What one prompt with eight answers costs, shared prefix against the usual way, side by side in one process.

    python -m bench.grpo_step              on a CPU: a tiny policy at the paper's prompt, about fifteen minutes
    python -m bench.grpo_step --quick      the same with short prompts: a minute; the ratios are smaller
    python -m bench.grpo_step --gpu Qwen/Qwen3-VL-2B-Instruct Qwen/Qwen3-VL-8B-Instruct
                                           besides, where CUDA is: these architectures with random bfloat16 weights

`fwd_bwd` is the loss's forward and backward pass against one padded row a completion; `attention` is the same pass
against one dense mask in place of attention in two passes; `rollout` is against generating every row from its own copy
of prompt and video, as TRL does; `step` is a whole optimizer step with divergence against TRL's step made to see the
video. Both sides take turns; what is told is the median of the pairs. Adds its rows to
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
from videossr.train.assembly import assemble

from bench.rows import Row, put, show
from videossr.clip import Clip
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.encode_prompt import EncodedPrompt, encode
from videossr.models.model_inputs import backbone
from videossr.models.policy import Prompt, render_prompt
from videossr.models.tiny_random import TinyRandomParams, write_tiny_random
from videossr.plan.architecture import meta_model
from videossr.pretext import Grounding
from videossr.records import FrameTimes, Sample
from videossr.train.attention import attend_by_branches
from videossr.train.params import GrpoParams, TrainParams
from videossr.train.prefix import Group, padded_logps, shared_logps
from videossr.train.progress import Progress
from videossr.train.rollout import repeated_rollout, shared_rollout

OUT = Path("reports/bench/grpo_step.json")
Work = Callable[[], float | None]
GROUP, COMPLETION = 8, 12  # completions a prompt, tokens a completion
FRAMES, SIDE = 48, 256  # the paper's training prompt: some 1,900 tokens


@dataclass(frozen=True)
class Bench:
    """A policy and its prompt: what both sides work on."""

    model: Any
    prompt: EncodedPrompt
    vocabulary: int

    def group(self, seed: int = 0) -> Group:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(7, self.vocabulary, (GROUP, COMPLETION), generator=generator)
        return Group(self.prompt, list(drawn))


def forward_backward(bench: Bench, logps: Callable[..., Any]) -> None:
    """One group's loss and its gradient."""
    bench.model.zero_grad(set_to_none=True)
    values, _ = logps(bench.model, [bench.group()], 0)
    values.sum().backward()


def by_dense_mask(bench: Bench) -> None:
    """One packed group's loss and gradient, what each token sees told by one mask for all of them."""
    backbone(bench.model).set_attn_implementation({"text_config": "sdpa"})
    forward_backward(bench, shared_logps)
    attend_by_branches(bench.model)


def reference(bench: Bench, logps: Callable[..., Any]) -> None:
    """One group's log-probabilities without a gradient."""
    with torch.no_grad():
        logps(bench.model, [bench.group()], 0)


def roll_out(bench: Bench, way: Callable[..., Any]) -> None:
    """One group's completions."""
    config = GenerationConfig(
        max_new_tokens=COMPLETION, min_new_tokens=COMPLETION, do_sample=True, pad_token_id=0, disable_compile=True
    )
    with torch.no_grad():
        way(bench.model, [bench.prompt], GROUP, config, 0)


def paired(ours: Work, theirs: Work, repeats: int) -> tuple[float, float, float]:
    """Median seconds of both, and the median of their ratio, in turns after one turn that does not count."""
    ours()
    theirs()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    ratio = statistics.median(other / own for own, other in pairs)
    return statistics.median(own for own, _ in pairs), statistics.median(other for _, other in pairs), ratio


def _seconds(work: Work) -> float:
    """How long it took, by its own watch where it has one."""
    _wait()
    began = time.perf_counter()
    told = work()
    _wait()
    return time.perf_counter() - began if told is None else told


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compare_tiny(folder: Path, frames: int, side: int, repeats: int) -> list[Row]:
    """The tiny policy on this machine's CPU."""
    sample, store = _puzzle(frames, side)
    write_tiny_random(TinyRandomParams(), [f"{sample.question} {sample.answer}"], 0, folder)
    model, processor = load_model(folder, "float32"), load_processor(folder)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    attend_by_branches(model)
    bench = Bench(model.train(), encode(processor, _rendered(sample, store)), len(processor.tokenizer))
    unit = f"s, P = {len(bench.prompt)}, G = {GROUP}, C = {COMPLETION}, CPU"
    rows = []
    for name, work, ways in (
        ("fwd_bwd", forward_backward, (shared_logps, padded_logps)),
        ("rollout", roll_out, (shared_rollout, repeated_rollout)),
    ):
        timed = paired(lambda: work(bench, ways[0]), lambda: work(bench, ways[1]), repeats)  # noqa: B023
        rows.append(Row(name, *timed, unit))
    timed = paired(lambda: forward_backward(bench, shared_logps), lambda: by_dense_mask(bench), repeats)
    rows.append(Row("attention", *timed, unit))
    own, other = (_steps(folder, shared, sample, store) for shared in ("on", "off"))
    return [*rows, Row("step", *paired(own, other, repeats), unit)]


def _puzzle(frames: int, side: int) -> tuple[Sample, dict[str, Clip]]:
    rng = np.random.default_rng(0)
    clip = Clip(rng.integers(0, 256, (frames, side, side, 3), np.uint8), np.arange(frames) * 0.5)
    task = Grounding(num_frames=frames, min_length=2, max_length=4)
    sample = task.generate(FrameTimes("noise", tuple(clip.times.tolist())), "mirror", rng)
    return sample, {"noise": clip}


def _rendered(sample: Sample, store: dict[str, Clip]) -> Prompt:
    return render_prompt(sample, Grounding(), store)


class _OneStep(TrainerCallback):
    """Ends training after one step, and says how long that took."""

    began = seconds = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.seconds = time.perf_counter() - self.began
        control.should_training_stop = True


def _steps(folder: Path, shared: str, sample: Sample, store: dict[str, Clip]) -> Callable[[], float]:
    """A function that makes one whole optimizer step (rollout, reference, loss, update) and returns its seconds."""
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
    trainer = assemble(
        params, samples, lambda s: _rendered(s, store), str(folder), work, "bench", None, lambda *_: None
    )
    step = _OneStep()
    trainer.remove_callback(Progress)
    trainer.add_callback(step)

    def run() -> float:
        trainer.train()
        return step.seconds

    return run


def compare_gpu(name: str, config: Any, repeats: int, frames: int = FRAMES, side: int = SIDE) -> list[Row]:
    """An architecture with random bfloat16 weights: seconds of each pass, and groups a second of all of them.

    The update of the weights is left out: it costs the same either way.
    """
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    attend_by_branches(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    bench = Bench(model.train(), synthetic_prompt(config, frames, side), config.text_config.vocab_size)
    label = f"gpu_{name.rpartition('/')[2].lower().removesuffix('-instruct').replace('-', '_')}"
    ways = {
        "fwd_bwd": (forward_backward, (shared_logps, padded_logps)),
        "reference": (reference, (shared_logps, padded_logps)),
        "rollout": (_undisturbed_roll_out, (shared_rollout, repeated_rollout)),
    }
    rows, peaks = [], []
    for part, (work, (own, other)) in ways.items():
        peaks.append((_peak(lambda: work(bench, own)), _peak(lambda: work(bench, other))))  # noqa: B023
        timed = paired(lambda: work(bench, own), lambda: work(bench, other), repeats)  # noqa: B023
        rows.append(Row(f"{label}_{part}", *timed, "s a group"))
    timed = paired(lambda: forward_backward(bench, shared_logps), lambda: by_dense_mask(bench), repeats)
    attention = Row(f"{label}_attention", *timed, "s a group, in two passes against one dense mask")
    return [*rows, attention, *_throughput(label, bench, rows), _memory(label, peaks)]


def _undisturbed_roll_out(bench: Bench, way: Callable[..., Any]) -> None:
    bench.model.gradient_checkpointing_disable()  # it forbids the cache
    roll_out(bench, way)
    bench.model.gradient_checkpointing_enable({"use_reentrant": False})


def _throughput(label: str, bench: Bench, rows: Sequence[Row]) -> list[Row]:
    """Groups and tokens a second over all passes, and the share of the device's peak that useful work takes.

    Useful is what the shared prefix needs: 2 operations a parameter and token forward, 4 backward; 10 in all.
    """
    own, other = (1 / sum(getattr(row, side) for row in rows) for side in ("ours", "theirs"))
    tokens = len(bench.prompt) + GROUP * COMPLETION
    parameters = sum(parameter.numel() for parameter in bench.model.parameters())
    told = [
        Row(f"{label}_groups", own, other, own / other, "groups/s"),
        Row(f"{label}_tokens", own * tokens, other * tokens, own / other, "distinct tokens/s"),
    ]
    peak = get_peak_flops(torch.cuda.get_device_name(), "bf16") if torch.cuda.is_available() else None
    if peak:
        useful = 10 * parameters * tokens / peak
        told.append(Row(f"{label}_mfu", own * useful, other * useful, own / other, "of the device's bf16 peak"))
    return told


def _peak(work: Callable[[], None]) -> float:
    if not torch.cuda.is_available():
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30


def _memory(label: str, peaks: Sequence[tuple[float, float]]) -> Row:
    own, other = (max(peak[side] for peak in peaks) for side in (0, 1))
    return Row(f"{label}_peak_memory", own, other, other / own, "GiB, weights and gradients in bfloat16, no optimizer")


def synthetic_prompt(config: Any, frames: int, side: int) -> EncodedPrompt:
    """A prompt as the processor lays it out, of random tokens and pixels: for architectures without a tokenizer."""
    vision = config.vision_config
    grid = side // vision.patch_size
    slices, tokens = frames // vision.temporal_patch_size, (grid // vision.spatial_merge_size) ** 2
    generator = torch.Generator().manual_seed(0)

    def text(count: int) -> torch.Tensor:
        return torch.randint(7, 1000 if config.text_config.vocab_size > 1000 else 200, (count,), generator=generator)

    begin, end = torch.tensor([config.vision_start_token_id]), torch.tensor([config.vision_end_token_id])
    picture = torch.full((tokens,), config.video_token_id)
    stamped = [part for _ in range(slices) for part in (text(8), begin, picture, end)]
    ids = torch.cat([text(40), *stamped, text(50)])
    pixels = torch.randn(
        slices * grid * grid,
        vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        generator=generator,
    )
    return EncodedPrompt(ids, 2 * (ids == config.video_token_id).long(), pixels, torch.tensor([[slices, grid, grid]]))


def tell(rows: Sequence[Row]) -> None:
    """Show the rows, and put them in the place of older ones of their names."""
    show(rows, "A GRPO step, against the usual way")
    put(OUT, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="16 frames of 64x64 in place of 48 of 256x256")
    parser.add_argument("--repeats", type=int, default=3, help="pairs that count")
    parser.add_argument("--gpu", nargs="*", default=[], metavar="POLICY", help="architectures to time where CUDA is")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        with tempfile.TemporaryDirectory() as folder:
            tell(compare_tiny(Path(folder), *((16, 64) if args.quick else (FRAMES, SIDE)), args.repeats))
    for name in args.gpu if torch.cuda.is_available() else []:
        tell(compare_gpu(name, meta_model(name, TinyRandomParams(), ()).config, args.repeats))
    if args.gpu and not torch.cuda.is_available():
        print("no CUDA device: the rows gpu_* are left as they are")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
