"""What training reports while it runs: a progress bar, a file of metrics, and a callback for MLflow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from videossr.storage.jsonl import append_jsonl, read_jsonl

SECONDS = "step_seconds"
RENAMED = {"frac_reward_zero_std": "zero_variance", "grad_norm": "gradient_norm", "step_time": SECONDS}
REPORTED = (
    "loss",
    "reward",
    "reward_std",
    "kl",
    "entropy",
    "learning_rate",
    "completions/mean_length",
    "exchanged",
    "skipped",
    *RENAMED,
)
REPORTED_BY_TASK = ("reward/", "zero_variance/", "parsed/", "skill/", "level/", "length/", "kl/", "entropy/")


class RunLog:
    """One JSON line a step on disk. A step that is run again after a restart replaces its earlier line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, float]) -> None:
        append_jsonl(self.path, [row])

    def read(self) -> list[dict[str, float]]:
        by_step = {row["step"]: row for row in read_jsonl(self.path)}
        return [by_step[step] for step in sorted(by_step)]


class Progress(TrainerCallback):
    """Sends every logged step to the progress bar, to the run log, and to `log_metrics(metrics, step)`."""

    def __init__(self, run_log: RunLog, log_metrics: Callable[[dict[str, float], int], None]) -> None:
        self.run_log = run_log
        self.log_metrics = log_metrics
        self.bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        if not state.is_world_process_zero:
            return
        self.bar = tqdm(desc="GRPO", total=state.max_steps, initial=state.global_step, unit="step", mininterval=1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **unused: Any) -> None:
        if not state.is_world_process_zero:
            return
        metrics = {
            RENAMED.get(name, name): float(value)
            for name, value in (logs or {}).items()
            if value is not None and (name in REPORTED or name.startswith(REPORTED_BY_TASK))
        }
        if "loss" not in metrics:  # the summary at the end; a reward is missing where a rollout serves several steps
            return
        # Run logs are compared between runs, so they hold no times.
        timeless = {name: value for name, value in metrics.items() if name != SECONDS}
        self.run_log.append({"step": state.global_step, **timeless})
        self.log_metrics(metrics, state.global_step)
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)
            if "reward" in metrics:
                self.bar.set_postfix(reward=f"{metrics['reward']:.3f}", refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        if self.bar is not None:
            self.bar.close()
