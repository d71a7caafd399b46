"""How far the shared prefix is from rows that repeat the prompt, for a small random policy of each family.

    python -m bench.families [--out docs/measured/families.json]

Two groups of uneven completions. Values and gradients of the loss are compared in float64, the log-probabilities of
sampled tokens, and the tokens themselves, in float32.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.support import families, tiny_policy
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.encode_prompt import EncodedPrompt, encode
from videossr.models.generation import Decoding, generate_branches, generate_rows, generate_scored_branches
from videossr.models.policy import render_prompt
from videossr.storage.atomic import write_json
from videossr.train.prefix import Group, repeated_logps, shared_logps

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
LENGTHS = ((3, 9, 1, 70), (5, 2))
SAMPLED = Decoding(max_new_tokens=12, temperature=0.9, end_ids=(), suppressed_ids=(), pad_id=0)


def measure_family(name: str, folder: Path) -> dict[str, Any]:
    """The differences for one family; log-probabilities in nats, the gradient relative to its norm."""
    families.write_family(name, folder)
    prompts = _prompts(folder)
    return {"family": name, **_loss_differences(folder, prompts), **_rollout_differences(folder, prompts)}


def _prompts(folder: Path) -> list[EncodedPrompt]:
    """A prompt of one clip and one of eight."""
    processor, samples = load_processor(folder), tiny_policy.samples(4)
    return [
        encode(processor, render_prompt(samples[i], tiny_policy.TASKS[samples[i].task], tiny_policy.clips()))
        for i in (0, 3)
    ]


def _loss_differences(folder: Path, prompts: list[EncodedPrompt]) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    groups = [
        Group(prompt, [torch.randint(7, 300, (length,), generator=generator) for length in lengths])
        for prompt, lengths in zip(prompts, LENGTHS, strict=True)
    ]
    model = _load(folder, "float64").train()
    use_branched_attention(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    results = []
    for logps in (shared_logps, repeated_logps):
        model.zero_grad()
        values, _ = logps(model, groups, 0)
        (values * torch.linspace(0.1, 1, values.numel()).view_as(values)).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((values.detach(), gradient))
    (shared, shared_gradient), (repeated, gradient) = results
    return {
        "loss_nats": (shared - repeated).abs().max().item(),
        "gradient": ((shared_gradient - gradient).norm() / gradient.norm()).item(),
    }


def _rollout_differences(folder: Path, prompts: list[EncodedPrompt]) -> dict[str, Any]:
    model = _load(folder, "float32")
    use_branched_attention(model)
    tokens, sampled = generate_scored_branches(model, prompts, 3, SAMPLED, [1, 2])
    groups = [Group(prompt, list(rows)) for prompt, rows in zip(prompts, tokens.split(3), strict=True)]
    with torch.no_grad():
        scored, _ = repeated_logps(_load(folder, "float64"), groups, 0, SAMPLED.temperature)
    rows = generate_rows(model, prompts, 3, SAMPLED, [1, 2])
    return {
        "rollout_nats": (scored - sampled).abs().max().item(),
        "same_tokens": bool(torch.equal(generate_branches(model, prompts, 3, SAMPLED, [1, 2]), rows)),
    }


def _load(folder: Path, dtype: str) -> Any:
    model = load_model(folder, dtype)
    if hasattr(model.config.get_text_config(), "num_experts"):
        model.set_experts_implementation("eager")  # the grouped kernels have no float64
    return model


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.families", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/measured/families.json"))
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure_family(name, Path(folder, name)) for name in FAMILIES]
    write_json(out, {"torch": torch.__version__, "rows": rows})
    for row in rows:
        print(
            f"| {row['family']} | {row['loss_nats']:.0e} | {row['gradient']:.0e} | {row['rollout_nats']:.0e} "
            f"| {'yes' if row['same_tokens'] else 'NO'} |"
        )


if __name__ == "__main__":
    main()
