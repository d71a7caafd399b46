"""The train stage: a policy is born or loaded, warmed up if tiny random, then reinforced by GRPO.

    <work>/<start key>/tiny-random/ -> warmup.pt -> start/
    <work>/<run key>/grpo/checkpoint-N/ -> policy/

What a key stands for is in `identity`: a run that was killed finds its own checkpoints and no others, and a run with
other parameters of GRPO finds the warm start done. `start_dir` and `policy_dir` receive finished checkpoints only.
"""

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from videossr.train.assembly import assemble

from videossr.clip import Clip
from videossr.errors import PolicyError, TrainingError
from videossr.frames.store import FrameStore
from videossr.models.checkpoint import ADAPTER_CONFIG, POLICY_POINTER, load_model, load_processor, resolve_checkpoint
from videossr.models.policy import Prompt, render_prompt
from videossr.models.tiny_random import write_tiny_random
from videossr.pretext import TASKS, PretextTask
from videossr.records import FrameTimes, Sample
from videossr.storage.atomic import atomic_folder, write_json
from videossr.train.checkpoints import last_whole_checkpoint, publish, remove_torn
from videossr.train.curriculum import Curriculum
from videossr.train.faults import explain_out_of_memory
from videossr.train.params import TINY_RANDOM, TrainParams
from videossr.train.progress import RunLog
from videossr.train.prompt_builder import PromptBuilder
from videossr.train.run_keys import run_key, start_key
from videossr.train.warmup import warm_up

log = logging.getLogger(__name__)

VISION_CHECK_PROMPTS = 4  # puzzles on which training proves that its loss sees the video


@dataclasses.dataclass(frozen=True)
class TrainReport:
    """What training tells: the curves by step, how far changed pixels move the loss (nats), samples that were skipped
    and why, where the work was done."""

    warmup: list[dict[str, float]]
    grpo: list[dict[str, float]]
    vision_sensitivity_nats: float
    skipped: dict[str, str]
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
) -> TrainReport:
    """Train on `samples` and write the policy before (`start_dir`) and after GRPO (`policy_dir`).

    `log_metrics(metrics, step)` is called with every logged step. `tasks` are the tasks as the samples were made with
    them: a curriculum changes their parameters. A run that was stopped goes on from its last checkpoint, on the same
    course. Under `accelerate launch` every process calls this, and the first one writes. Raises ConfigError,
    PolicyError and TrainingError.
    """
    _require_enough(samples, params.grpo.prompts_per_step)
    processes = _processes(params)
    key = run_key(params, samples)
    work, born = work_dir / key, work_dir / start_key(params, samples)

    def render(sample: Sample) -> Prompt:
        return render_prompt(sample, TASKS[sample.task](), store)

    with processes.main_process_first():
        work.mkdir(parents=True, exist_ok=True)
        remove_torn(work / "grpo")
        start, warmup_curve = _start(params, samples, render, born)
    curriculum = _curriculum(params, samples, store, tasks)
    trainer = assemble(params, samples, render, resolve_checkpoint(start), work, key, curriculum, log_metrics)
    sight = trainer.check_vision_sensitivity(
        trainer.train_dataset.select(range(min(VISION_CHECK_PROMPTS, len(samples)))).to_list()
    )
    if trainer.is_world_process_zero():
        log.info("the loss sees the video: other pixels move its log-probabilities by up to %.2g nats", sight)
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(work / "grpo", key, before=params.grpo.steps))
    _publish_trained(trainer, params, resolve_checkpoint(start), work / "policy")
    report = TrainReport(warmup_curve, RunLog(work / "grpo.jsonl").read(), sight, trainer.lessons.skipped, work)
    if trainer.is_world_process_zero():
        publish(start, start_dir)
        publish(work / "policy", policy_dir)
        told = dataclasses.asdict(report)
        write_json(report_path, {name: value for name, value in told.items() if name != "work"})
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


def _processes(params: TrainParams) -> PartialState:
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
    known = {footage.video_id: footage for footage in store.frame_times()} if isinstance(store, FrameStore) else {}

    def footage(video_id: str) -> FrameTimes:
        return known.get(video_id) or FrameTimes(video_id, tuple(store[video_id].times.tolist()))

    return Curriculum(params.curriculum, tasks, samples, footage, params.seed)


def _start(
    params: TrainParams, samples: Sequence[Sample], render: Callable[[Sample], Prompt], work: Path
) -> tuple[Path, list[dict[str, float]]]:
    """The folder of the policy GRPO starts from, and the warm start's loss curve (empty for a loaded policy)."""
    start, curve_path = work / "start", work / "warmup.json"
    work.mkdir(parents=True, exist_ok=True)
    if start.exists():
        return start, json.loads(curve_path.read_text()) if curve_path.exists() else []
    if params.policy != TINY_RANDOM:
        load_processor(params.policy)
        if (Path(params.policy) / ADAPTER_CONFIG).exists():
            raise PolicyError(f"train.policy must be a whole checkpoint, {params.policy} holds adapters: name its base")
        with atomic_folder(start) as temporary:
            write_json(temporary / POLICY_POINTER, {"policy": params.policy})
        return start, []
    tiny_random = work / "tiny-random"
    if not (tiny_random / "model.safetensors").exists():
        with atomic_folder(tiny_random) as temporary:
            texts = [f"{sample.question} {sample.answer}" for sample in samples]
            write_tiny_random(params.tiny_random, texts, params.seed, temporary)
    model, processor = load_model(tiny_random, "float32").to(_device()), load_processor(tiny_random)
    lessons = PromptBuilder(samples, render, processor, params.grpo.max_prompt_tokens, params.seed)
    curve = warm_up(model, processor, samples, lessons, params.warmup, params.seed, work / "warmup.pt")
    write_json(curve_path, curve)
    with atomic_folder(start) as temporary:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
    return start, curve


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _publish_trained(trainer: Any, params: TrainParams, base: str, folder: Path) -> None:
    """Write the trained policy: adapters with a pointer to their base, or with the base where only this run has it."""
    state = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.is_world_process_zero():
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    with atomic_folder(folder) as temporary:
        if params.lora is not None:
            if params.policy == TINY_RANDOM:
                shutil.copytree(base, temporary / "base")
            for adapter in model.peft_config.values():
                adapter.base_model_name_or_path = "base" if params.policy == TINY_RANDOM else params.policy
        # No adapter is on an embedding, so peft need not ask the hub whether the vocabulary grew.
        model.save_pretrained(temporary, state_dict=state, **({"save_embedding_layers": False} if params.lora else {}))
        trainer.processing_class.save_pretrained(temporary)
