"""The VIUBench results (`reports/viubench.json`) and what the stages took, for the terminal."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table

from videossr.cli.narrow_table import narrow_table
from videossr.evaluation.viubench import COLUMNS
from videossr.report.text import no_interval, too_few
from videossr.tracking import StageCost

_TASKS = ("counting", "grounding", "jigsaw")
_ROW_LABELS = {
    "random": "blind: random guess",
    "constant": "blind: best constant",
    "blind": "policy after GRPO, without the video",
    "before": "policy before GRPO",
    "after": "policy after GRPO",
}


def results_table(results: Mapping[str, Any]) -> Table:
    """One row per policy and baseline: overall score with its 95 % interval, and the mean score of each task.

    `results` is viubench.json. With too few benchmark videos there is no interval.
    """
    rows = results["rows"]
    has_intervals = not too_few(results)
    unit = "percent [95 % interval]" if has_intervals else "percent"
    table = Table(title=f"VIUBench, {unit}, {rows['after']['n']} questions per row")
    table.add_column("")
    for name in ("overall", *_TASKS):
        table.add_column(name, justify="right")
    for name, label in _ROW_LABELS.items():
        row = rows[name]
        low, high = row["ci95"]["overall"]
        interval = f" [{low:.1f}, {high:.1f}]" if has_intervals else ""
        task_means = [f"{_task_mean(row, task):.1f}" for task in _TASKS]
        table.add_row(label, f"{row['overall']:.1f}{interval}", *task_means)
    return table


def costs_table(costs: Sequence[StageCost]) -> Table:
    """One row for the last run of each stage: seconds, processor seconds, memory."""
    table = narrow_table("The last run of each stage", ["stage", "ended"], ["seconds", "CPU-seconds", "peak, MB"])
    for cost in costs:
        ended = datetime.fromisoformat(cost.ended).astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(cost.stage, ended, f"{cost.seconds:.1f}", f"{cost.cpu_seconds:.1f}", f"{cost.peak_megabytes:,}")
    seconds, cpu_seconds = sum(cost.seconds for cost in costs), sum(cost.cpu_seconds for cost in costs)
    table.add_row("all", "", f"{seconds:.1f}", f"{cpu_seconds:.1f}", "")
    return table


def _task_mean(row: Mapping[str, Any], task: str) -> float:
    scores = [row[column] for column, (column_task, _) in COLUMNS.items() if column_task == task]
    return float(sum(scores) / len(scores))


def gain_sentence(results: Mapping[str, Any]) -> str:
    """How much GRPO changed the overall score, and whether the change is significant."""
    gain = results["gain"]
    change = f"GRPO changed the overall score by {gain['overall']:+.1f} points"
    if too_few(results):
        return f"{change}; {no_interval(results['rows']['after']['videos'])}"
    low, high = gain["ci95"]
    change = f"{change} (95 % interval {low:+.1f} to {high:+.1f})"
    if not gain["significant"]:
        return f"{change}: NOT significant, the interval includes zero"
    return f"{change}: significant" if gain["overall"] > 0 else f"{change}: significantly WORSE"
