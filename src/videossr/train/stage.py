"""The train stage: a policy is created or loaded, warmed up if it is the tiny random one, then trained by GRPO.

    <work>/<start key>/tiny-random/ -> warmup.pt -> start/
    <work>/<run key>/grpo/checkpoint-N/ -> policy/

`run_keys` says what the keys stand for: a run that was killed finds its own checkpoints and no others, and a run with
other parameters of GRPO finds the warm start done. `start_dir` and `policy_dir` receive finished checkpoints only.
"""

import dataclasses
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from videossr.clip import Clip
from videossr.errors import TrainingError
from videossr.models.checkpoint import resolve_checkpoint
from videossr.models.policy import Prompt, render_prompt
from videossr.pretext import TASKS, PretextTask
from videossr.records import Sample
from videossr.storage.atomic import atomic_folder, write_json
from videossr.train.build_trainer import build_trainer
from videossr.train.checkpoints import last_whole_checkpoint, publish, remove_incomplete, run_folder
from videossr.train.curriculum import Curriculum
from videossr.train.faults import explain_out_of_memory
from videossr.train.params import TrainParams
from videossr.train.progress import RunLog
from videossr.train.run_keys import depends_on_length, run_key, start_key
from videossr.train.stalls import describe, find_stalls
from videossr.train.start import frame_times_of, prepare_start

log = logging.getLogger(__name__)

VISION_CHECK_SAMPLES = 4  # on which training checks that its loss depends on the video


@dataclasses.dataclass(frozen=True)
class TrainReport:
    """The results of training.

    `warmup` and `grpo` are curves, one row of metrics a step. `vision_sensitivity_nats` is how far other pixels move
    the loss's log-probabilities. `skipped` maps the id of each sample that could not be used to the reason. `warnings`
    say which steps taught nothing, and why. `work` is the folder of the run's checkpoints.
    """

    warmup: list[dict[str, float]]
    grpo: list[dict[str, float]]
    vision_sensitivity_nats: float
    skipped: dict[str, str]
    warnings: list[str]
    work: Path


@explain_out_of_memory()
def train(
    params: TrainParams,
    samples: Sequence[Sample],
    store: Mapping[str, Clip],
    start_dir: Path,
    policy_dir: Path,
    work_dir: Path,
    report_path: Path,
    log_metrics: Callable[[dict[str, float], int], None],
    tasks: Mapping[str, PretextTask] | None = None,
    warn: Callable[[str, str], None] = lambda kind, sentence: None,
) -> TrainReport:
    """Train on `samples` and write the policy before (`start_dir`) and after GRPO (`policy_dir`).

    `log_metrics(metrics, step)` is called with every logged step, and `warn(kind, sentence)` once for each kind of
    stall, which is logged too. `tasks` are the tasks with the parameters that the samples were made with; a curriculum
    changes these. A run that was stopped continues from its last checkpoint, on
    the same course. Under `accelerate launch` every process calls this, and the first one writes. Raises ConfigError,
    PolicyError and TrainingError.
    """
    _require_enough(samples, params.grpo.prompts_per_step)
    processes = _require_processes(params)
    key = run_key(params, samples)
    work, start_work = run_folder(work_dir, key, params.grpo.steps), work_dir / start_key(params, samples)

    def render(sample: Sample) -> Prompt:
        return render_prompt(sample, TASKS[sample.task](), store)

    with processes.main_process_first():
        work.mkdir(parents=True, exist_ok=True)
        remove_incomplete(work / "grpo")
        start, warmup_curve = prepare_start(params, samples, render, frame_times_of(store), tasks, start_work)
    policy = resolve_checkpoint(start)
    curriculum = _curriculum(params, samples, store, tasks)
    trainer = build_trainer(params, samples, render, policy, work, key, curriculum, log_metrics, warn)
    nats = trainer.check_vision_sensitivity(samples[:VISION_CHECK_SAMPLES])
    if trainer.is_world_process_zero():
        log.info("the loss depends on the video: other pixels move its log-probabilities by up to %.2g nats", nats)
        if depends_on_length(params):
            log.info(
                "with lr_schedule '%s' every step depends on grpo.steps: a run with other steps starts at step 0",
                params.grpo.lr_schedule,
            )
    checkpoint = last_whole_checkpoint(work / "grpo", key, params.grpo.steps, params.grpo.updates_per_rollout)
    trainer.train(resume_from_checkpoint=checkpoint)
    _save_trained(trainer, params, policy, work / "policy")
    grpo_curve = [row for row in RunLog(work / "grpo.jsonl").read() if row["step"] <= params.grpo.steps]
    skipped = trainer.prompt_builder.skipped
    stalls = find_stalls(grpo_curve, params.grpo.steps)
    warnings = [describe(stall, grpo_curve, params.grpo.max_completion_tokens) for stall in stalls]
    report = TrainReport(warmup_curve, grpo_curve, nats, skipped, warnings, work)
    if trainer.is_world_process_zero():
        publish(start, start_dir)
        publish(work / "policy", policy_dir)
        write_json(report_path, {name: value for name, value in dataclasses.asdict(report).items() if name != "work"})
    trainer.accelerator.wait_for_everyone()
    return report


def _require_enough(samples: Sequence[Sample], prompts_per_step: int) -> None:
    if not samples:
        raise TrainingError("training needs at least one sample, got none: see what the gate and pretext reported")
    if len(samples) < prompts_per_step:
        raise TrainingError(
            f"a step asks {prompts_per_step} different samples, but there are only {len(samples)}: lower "
            "train.grpo.prompts_per_step, or make more samples (pretext.train.num_samples)"
        )


def _require_processes(params: TrainParams) -> PartialState:
    state = PartialState(cpu=not torch.cuda.is_available())
    if state.num_processes != params.processes:
        raise TrainingError(
            f"train.processes is {params.processes}, but {state.num_processes} run: start the stage by its flow, or by "
            "`accelerate launch` with as many"
        )
    return state


def _curriculum(
    params: TrainParams,
    samples: Sequence[Sample],
    store: Mapping[str, Clip],
    tasks: Mapping[str, PretextTask] | None,
) -> Curriculum | None:
    if params.curriculum is None:
        return None
    if tasks is None:
        raise TrainingError("a curriculum needs the tasks as the samples were made with them: pass `tasks` to train")
    return Curriculum(params.curriculum, tasks, samples, frame_times_of(store), params.seed)


def _save_trained(trainer: Any, params: TrainParams, base: str, folder: Path) -> None:
    """Write the trained policy. Adapters point to their base, or hold a copy of it where only this run has it."""
    state = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.is_world_process_zero():
        return
    if not all(bool(torch.isfinite(weight).all()) for weight in state.values() if weight.is_floating_point()):
        raise TrainingError(
            "the last step left weights that are not finite: lower train.grpo.learning_rate and run again"
        )
    model = trainer.accelerator.unwrap_model(trainer.model)
    with atomic_folder(folder) as temporary:
        if params.lora is not None:
            if base != params.policy:
                shutil.copytree(base, temporary / "base")
            for adapter in model.peft_config.values():
                adapter.base_model_name_or_path = params.policy if base == params.policy else "base"
        # No adapter is on an embedding, so peft need not ask the hub whether the vocabulary grew.
        model.save_pretrained(temporary, state_dict=state, **({"save_embedding_layers": False} if params.lora else {}))
        trainer.processing_class.save_pretrained(temporary)
