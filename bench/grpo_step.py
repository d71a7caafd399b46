"""The cost of one prompt with eight completions: with a shared prefix against repeating the prompt, in one process.

    python -m bench.grpo_step              on a CPU: a tiny policy with the paper's prompt, about fifteen minutes
    python -m bench.grpo_step --quick      the same with short prompts: a minute; the ratios are smaller
    python -m bench.grpo_step --gpu Qwen/Qwen3-VL-2B-Instruct Qwen/Qwen3-VL-8B-Instruct
                                           with CUDA: these architectures with random bfloat16 weights

`fwd_bwd` is the forward and backward pass of the loss, against one padded row a completion. `attention` is the same
pass, in two attention passes against one dense mask. `rollout` is against generating every row from its own copy of
prompt and video, as TRL does. `step` is a whole optimizer step with KL divergence, against TRL's step with the video
passed to the model; `step_hybrid` is that of a policy with linear attention, in the shape of Qwen3.5. Both sides
alternate; figures are medians over the pairs. Updates its rows in `reports/bench/grpo_step.json`: a list of {name,
ours, theirs, ratio, unit}.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from trl.trainer.utils import add_fused_lm_head

from bench.gpu_step import compare_gpu
from bench.rows import Row, print_rows, update_rows
from bench.step_parts import (
    COMPLETION,
    FRAMES,
    GROUP,
    SIDE,
    Subject,
    Work,
    forward_backward,
    forward_backward_dense,
    roll_out,
    time_pairs,
)
from bench.trainer_step import make_sample, make_step, render
from videossr.clip import Clip
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.encode_prompt import encode
from videossr.models.generation import generate_branches, generate_rows
from videossr.models.tiny_random import TinyRandomParams, write_tiny_random
from videossr.plan.architecture import meta_model
from videossr.records import Sample
from videossr.train.params import GrpoParams, TrainParams
from videossr.train.prefix import repeated_logps, shared_logps

OUT = Path("reports/bench/grpo_step.json")


def compare_tiny(folder: Path, frames: int, side: int, repeats: int) -> list[Row]:
    """Rows of a tiny random policy on this machine's CPU."""
    sample, store = make_sample(frames, side)
    write_tiny_random(TinyRandomParams(), [f"{sample.question} {sample.answer}"], 0, folder)
    model, processor = load_model(folder, "float32"), load_processor(folder)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    use_branched_attention(model)
    subject = Subject(model.train(), encode(processor, render(sample, store)), len(processor.tokenizer))
    unit = f"s, P = {len(subject.prompt)}, G = {GROUP}, C = {COMPLETION}, CPU"
    rows = []
    for name, work, implementations in (
        ("fwd_bwd", forward_backward, (shared_logps, repeated_logps)),
        ("rollout", roll_out, (generate_branches, generate_rows)),
    ):
        shared, repeated = implementations
        timing = time_pairs(lambda: work(subject, shared), lambda: work(subject, repeated), repeats)  # noqa: B023
        rows.append(Row(name, *timing, unit))
    timing = time_pairs(
        lambda: forward_backward(subject, shared_logps), lambda: forward_backward_dense(subject), repeats
    )
    rows.append(Row("attention", *timing, unit))
    return [*rows, Row("step", *time_pairs(*_step_pair(folder, sample, store), repeats), unit)]


def compare_hybrid(folder: Path, frames: int, side: int, repeats: int) -> list[Row]:
    """The row of a tiny random policy with linear attention, in the shape of Qwen3.5: a whole optimizer step."""
    sample, store = make_sample(frames, side)
    write_tiny_random(TinyRandomParams(linear_attention=True), [f"{sample.question} {sample.answer}"], 0, folder)
    prompt = encode(load_processor(folder), render(sample, store))
    unit = f"s, P = {len(prompt)}, G = {GROUP}, C = {COMPLETION}, CPU"
    return [Row("step_hybrid", *time_pairs(*_step_pair(folder, sample, store), repeats), unit)]


def _step_pair(folder: Path, sample: Sample, store: dict[str, Clip]) -> list[Work]:
    """An optimizer step with KL divergence of the policy in `folder`, with a shared prefix and without."""
    grpo = GrpoParams(
        steps=1000,
        prompts_per_step=1,
        group_size=GROUP,
        max_completion_tokens=COMPLETION,
        gradient_checkpointing=False,
        bf16=False,
        checkpoint_every=100_000,
    )
    return [
        make_step(TrainParams(policy=str(folder), shared_prefix=shared, grpo=grpo), sample, store, folder / shared)
        for shared in ("on", "off")
    ]


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
        for compare in (compare_tiny, compare_hybrid):
            with tempfile.TemporaryDirectory() as folder:
                report(compare(Path(folder), frames, side, arguments.repeats))
        if arguments.gpu:
            print("no CUDA device: the rows gpu_* stay as they are")
        return
    for name in arguments.gpu:
        report(compare_gpu(name, meta_model(name, TinyRandomParams(), ()).config, arguments.repeats))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
