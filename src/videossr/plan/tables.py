"""A plan as tables for a terminal, and the measured throughput that its hours can be based on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from videossr.errors import ConfigError
from videossr.plan import Plan
from videossr.plan.memory import FP32, PERSISTENT, peak_bytes, prompts_per_rollout, run_precision

_CARD_SIZES_GB = (24, 40, 48, 80, 141, 192)
_USABLE_SHARE = 0.94  # of a card's memory; driver, kernels and fragmentation need the rest


def plan_tables(plan: Plan) -> list[Table]:
    """Three tables: parameters and tokens, memory per GPU, operations."""
    return [_sizes_table(plan), _memory_table(plan), _operations_table(plan)]


def _new_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _sizes_table(plan: Plan) -> Table:
    grpo, table = plan.train.grpo, _new_table(plan.architecture.name, "", "")
    rows = {
        "parameters, vision tower": f"{plan.architecture.vision.parameters:,}",
        "parameters, language model": f"{plan.architecture.text.parameters:,}",
        "trainable parameters": f"{plan.trainable_parameters:,}",
        "dtype of trainable weights": _weight_dtype(plan),
        "visual tokens per prompt": f"{plan.visual_tokens:,.0f}",
        "text tokens per prompt (estimate)": f"{plan.text_tokens:,.0f}",
        "tokens of the longest prompt": f"{plan.longest_tokens:,} of {grpo.max_prompt_tokens:,}",
        "tokens per completion (assumed)": f"{plan.completion_tokens:,}",
        "prompts x completions per step": f"{grpo.prompts_per_step} x {grpo.group_size}",
        "tokens per step": f"{plan.step_tokens:,.0f}",
        "steps": f"{grpo.steps:,}",
        "GPUs": str(plan.train.processes),
        "host: CPU-seconds per prompt, on this machine": f"{plan.host_seconds:.3f}",
        "host: CPU-seconds per step": f"{plan.host_seconds * grpo.prompts_per_step:.1f}",
    }
    for row in rows.items():
        table.add_row(*row)
    return table


def _weight_dtype(plan: Plan) -> str:
    """The dtype of the trainable weights, with a warning for bfloat16.

    bfloat16 has 8 significant bits, so adding a step to a weight 512 times as large leaves the weight unchanged.
    """
    if run_precision(plan.train).trainable == FP32:
        return "float32"
    rate = plan.train.grpo.learning_rate
    return f"bfloat16: steps of {rate:g} are lost on weights above {512 * rate:.1g}"


def _memory_table(plan: Plan) -> Table:
    grpo = plan.train.grpo
    expected, at_limit = plan.memory, plan.memory_at_limit
    lengths = f"{plan.completion_tokens} tokens", f"{grpo.max_completion_tokens:,} (the limit)"
    table = _new_table("GiB per GPU, by the length of completions", "", *lengths)
    labels = {
        **dict(zip(PERSISTENT, PERSISTENT, strict=True)),
        "activations": "loss: activations, checkpointed",
        "activations, not checkpointed": "loss: activations, not checkpointed",
        "vision features": "vision features of a step",
        "rollout cache": f"rollout: keys and values of {prompts_per_rollout(plan.train)} groups",
    }
    for kind, label in labels.items():
        table.add_row(label, _gibibytes(expected[kind]), _gibibytes(at_limit[kind]))
    peaks = [peak_bytes(memory, grpo.gradient_checkpointing) for memory in (expected, at_limit)]
    table.add_section()
    table.add_row("peak (the larger of loss and rollout)", *map(_gibibytes, peaks))
    table.add_row("smallest card that holds it", *map(_smallest_card, peaks))
    return table


def _operations_table(plan: Plan) -> Table:
    table = _new_table("TFLOP per prompt with its group", "", "prompt once", "prompt repeated", "ratio")
    for name in ("rollout", "reference", "loss", "total"):
        shared, repeated = getattr(plan.shared_operations, name), getattr(plan.repeated_operations, name)
        ratio = f"{repeated / shared:.1f}" if shared else "-"
        table.add_row(name, f"{shared / 1e12:,.4g}", f"{repeated / 1e12:,.4g}", ratio)
    table.caption = f"this run: {'prompt once' if plan.has_shared_prefix else 'prompt repeated'}"
    return table


def hours_table(plan: Plan, tflops: Sequence[float], groups_per_second: Mapping[str, float]) -> Table:
    """Hours for all steps, at effective TFLOP/s per GPU and at measured groups per second of one GPU (by name)."""
    table = _new_table(
        f"hours of {plan.train.grpo.steps:,} steps on {plan.train.processes} GPU(s)", "", "hours", "GPU-hours"
    )
    hours = {f"at {rate:g} TFLOP/s per GPU": plan.hours_at_tflops(rate) for rate in tflops}
    for name, rate in groups_per_second.items():
        hours[f"at {rate:g} groups/s per GPU ({name})"] = plan.hours_at_throughput(rate)
    for label, value in hours.items():
        table.add_row(label, f"{value:,.3g}", f"{value * plan.train.processes:,.3g}")
    return table


def _gibibytes(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:,.2f}"


def _smallest_card(num_bytes: float) -> str:
    fitting = [size for size in _CARD_SIZES_GB if num_bytes <= size * 1e9 * _USABLE_SHARE]
    return f"{fitting[0]} GB" if fitting else "none"


def read_groups_per_second(path: Path) -> dict[str, float]:
    """Measured throughput of one GPU by name, in groups (a prompt with its completions) per second.

    Reads the rows `gpu_*` in groups/s from the report of bench/grpo_step.py. Raises ConfigError when the file is
    missing, is not such a report, or has no such row.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        rates = {row["name"]: row["ours"] for row in rows if row["unit"] == "groups/s"}
    except FileNotFoundError:
        raise ConfigError(
            f"there is no measurement at {path}: run bench/grpo_step.py on a GPU, or give --tflops"
        ) from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{path} is not a report of bench/grpo_step.py: give the file that it wrote") from None
    gpu_rates = {name: rate for name, rate in rates.items() if name.startswith("gpu_")}
    if not gpu_rates:
        raise ConfigError(f"{path} holds no row gpu_* in groups/s: run bench/grpo_step.py on a GPU, or give --tflops")
    return gpu_rates
