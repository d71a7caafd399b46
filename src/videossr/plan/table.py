"""A plan as tables for a terminal, and the throughput that was measured elsewhere."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from videossr.errors import ConfigError
from videossr.plan import Plan
from videossr.plan.memory import FP32, LASTING, peak, precision, rollout_prompts

_CARDS_GB = (24, 40, 48, 80, 141, 192)
_USABLE = 0.94  # of a card's memory: the rest goes to the driver, kernels and fragments


def tables(plan: Plan) -> list[Table]:
    """Parameters and tokens, memory a GPU, operations."""
    return [_sizes(plan), _memory(plan), _operations(plan)]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _sizes(plan: Plan) -> Table:
    grpo, table = plan.train.grpo, _table(plan.architecture.name, "", "")
    rows = {
        "parameters, vision tower": f"{plan.architecture.vision.parameters:,}",
        "parameters, language model": f"{plan.architecture.text.parameters:,}",
        "parameters that learn": f"{plan.trainable:,}",
        "weights that learn are held in": _precision(plan),
        "tokens a prompt, visual": f"{plan.visual_tokens:,.0f}",
        "tokens a prompt, text (about)": f"{plan.text_tokens:,.0f}",
        "tokens, longest prompt": f"{plan.longest_tokens:,} of {grpo.max_prompt_tokens:,}",
        "tokens a completion (assumed)": f"{plan.completion_tokens:,}",
        "prompts x completions a step": f"{grpo.prompts_per_step} x {grpo.group_size}",
        "tokens a step": f"{plan.step_tokens:,.0f}",
        "steps": f"{grpo.steps:,}",
        "GPUs": str(plan.train.processes),
    }
    for row in rows.items():
        table.add_row(*row)
    return table


def _precision(plan: Plan) -> str:
    """The type of the learning weights; bfloat16 keeps 8 bits, so a step is lost on weights 512 times as large."""
    if precision(plan.train).learning == FP32:
        return "float32"
    rate = plan.train.grpo.learning_rate
    return f"bfloat16: steps of {rate:g} are lost on weights above {512 * rate:.1g}"


def _memory(plan: Plan) -> Table:
    grpo = plan.train.grpo
    expected, limit = plan.memory, plan.memory_at_limit
    lengths = f"{plan.completion_tokens} tokens", f"{grpo.max_completion_tokens:,} (the limit)"
    table = _table("GiB a GPU, by the length of completions", "", *lengths)
    names = {
        **dict(zip(LASTING, LASTING, strict=True)),
        "activations": "loss: activations, checkpointed",
        "activations, not checkpointed": "loss: activations, not checkpointed",
        "rollout cache": f"rollout: keys and values of {rollout_prompts(plan.train)} x {grpo.group_size}",
    }
    for kind, name in names.items():
        table.add_row(name, _gibibytes(expected[kind]), _gibibytes(limit[kind]))
    peaks = [peak(kinds, grpo.gradient_checkpointing) for kinds in (expected, limit)]
    table.add_section()
    table.add_row("at once (the larger of loss and rollout)", *map(_gibibytes, peaks))
    table.add_row("smallest card that holds it", *map(_card, peaks))
    return table


def _operations(plan: Plan) -> Table:
    table = _table("TFLOP a prompt with its group", "", "prompt once", "prompt repeated", "ratio")
    for name in ("rollout", "reference", "loss", "total"):
        shared, repeated = getattr(plan.shared, name), getattr(plan.repeated, name)
        ratio = f"{repeated / shared:.1f}" if shared else "-"
        table.add_row(name, f"{shared / 1e12:,.4g}", f"{repeated / 1e12:,.4g}", ratio)
    table.caption = f"this run: {'prompt once' if plan.sharing else 'prompt repeated'}"
    return table


def hours(plan: Plan, tflops: Sequence[float], groups_per_second: Mapping[str, float]) -> Table:
    """Hours of all steps at effective TFLOP/s a GPU, and at measured groups a second on one GPU."""
    table = _table(
        f"hours of {plan.train.grpo.steps:,} steps on {plan.train.processes} GPU(s)", "", "hours", "GPU-hours"
    )
    found = {f"at {rate:g} TFLOP/s a GPU": plan.hours(rate) for rate in tflops}
    found |= {f"at {rate:g} groups/s a GPU ({name})": plan.hours_at(rate) for name, rate in groups_per_second.items()}
    for name, value in found.items():
        table.add_row(name, f"{value:,.3g}", f"{value * plan.train.processes:,.3g}")
    return table


def _gibibytes(number: float) -> str:
    return f"{number / 2**30:,.2f}"


def _card(number: float) -> str:
    fitting = [card for card in _CARDS_GB if number <= card * 1e9 * _USABLE]
    return f"{fitting[0]} GB" if fitting else "none"


def measured_groups_per_second(path: Path) -> dict[str, float]:
    """Rows `gpu_*` of a benchmark whose unit is groups/s: prompts with their groups a second on one GPU, by name.

    Raises ConfigError when the file is missing, is another, or holds no such row.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        rates = {row["name"]: row["ours"] for row in rows if row["unit"] == "groups/s"}
    except FileNotFoundError:
        raise ConfigError(
            f"there is no measurement at {path}: run bench/grpo_step.py on a GPU, or give --tflops"
        ) from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{path} is no list of measured rows: give what bench/grpo_step.py wrote") from None
    found = {name: rate for name, rate in rates.items() if name.startswith("gpu_")}
    if not found:
        raise ConfigError(f"{path} holds no row gpu_* in groups/s: run bench/grpo_step.py on a GPU, or give --tflops")
    return found
