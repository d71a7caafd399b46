"""What training reports while it runs: a progress bar, a file of metrics, warnings, and a callback for MLflow."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from videossr.storage.jsonl import append_jsonl, read_jsonl
from videossr.train.faults import has_finite_weights
from videossr.train.stalls import Stall, describe, find_stalls

log = logging.getLogger(__name__)

SECONDS = "step_seconds"
RECENT_ROWS = 200  # in which a stall is looked for after each step
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
    """Sends every logged step to the progress bar, to the run log, and to `log_metrics(metrics, step)`.

    Where steps teach nothing (`stalls`) it warns once for each kind, in the log and by `warn(kind, sentence)`.
    """

    def __init__(
        self,
        run_log: RunLog,
        log_metrics: Callable[[dict[str, float], int], None],
        warn: Callable[[str, str], None],
        max_completion_tokens: int,
    ) -> None:
        self.run_log = run_log
        self.log_metrics = log_metrics
        self.warn = warn
        self.max_completion_tokens = max_completion_tokens
        self.rows: list[dict[str, float]] = []
        self.warned: set[str] = set()
        self.bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        if not state.is_world_process_zero:
            return
        self.rows = self.run_log.read()[: state.global_step]
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
        self.rows.append({"step": state.global_step, **timeless})
        self.log_metrics(metrics, state.global_step)
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)
            if "reward" in metrics:
                self.bar.set_postfix(reward=f"{metrics['reward']:.3f}", refresh=False)
        stalls = find_stalls(self.rows[-RECENT_ROWS:], state.max_steps)
        if stalls and stalls[-1].last == state.global_step and stalls[-1].kind not in self.warned:
            self._warn(stalls[-1], has_finite_weights(unused["model"]))

    def _warn(self, stall: Stall, are_weights_finite: bool) -> None:
        self.warned.add(stall.kind)
        sentence = describe(stall, self.rows, self.max_completion_tokens, are_weights_finite)
        log.warning("%s", sentence)
        self.warn(stall.kind, sentence)

    def on_train_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        if self.bar is not None:
            self.bar.close()
