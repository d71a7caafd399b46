"""The train stage: a policy is born or loaded, warmed up if new-born, then reinforced by GRPO.

    <work>/<key>/newborn -> warmup.pt -> start/ -> grpo/checkpoint-N/ -> policy/          key = hash(params, data)

Everything under `<work>/<key>` belongs to one run of one set of parameters on one set of data, so a run that was killed
finds its own checkpoints and no others. `start_dir` and `policy_dir` receive finished checkpoints only.
"""

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import GRPOConfig

from videossr import rewards
from videossr.errors import PolicyError, TrainingError
from videossr.frames import Clip
from videossr.newborn import newborn
from videossr.policy import Prompt
from videossr.pretext import TASKS
from videossr.pretext.floors import blind_floors
from videossr.qwen import load_model, load_processor, vision_token_ids
from videossr.records import Sample
from videossr.train.grpo import VideoGRPOTrainer
from videossr.train.params import NEWBORN, GrpoParams, TrainParams
from videossr.train.progress import Progress, RunLog
from videossr.train.warmup import warm_up

log = logging.getLogger(__name__)

SIGHT_PROMPTS = 4  # puzzles on which training proves that its loss sees the video
POINTER = "policy.json"  # in the start folder of a policy that was loaded by name


@dataclasses.dataclass(frozen=True)
class TrainReport:
    """What training tells: the curves by step, how far changed pixels move the loss (nats), where the work was done."""

    warmup: list[dict[str, float]]
    grpo: list[dict[str, float]]
    sight_nats: float
    work: Path


def train(
    params: TrainParams,
    samples: Sequence[Sample],
    store: Mapping[str, Clip],
    start_dir: Path,
    policy_dir: Path,
    work_dir: Path,
    report_path: Path,
    log_metrics: Callable[[dict[str, float], int], None],
) -> TrainReport:
    """Train on `samples` and write the policy before (`start_dir`) and after GRPO (`policy_dir`).

    `log_metrics(metrics, step)` is called with every logged step. A run that was stopped goes on from its last
    checkpoint, on the same course. Raises PolicyError and TrainingError.
    """
    if not samples:
        raise TrainingError("training needs at least one sample, got none: see what the gate and pretext reported")
    work = work_dir / _key(params, samples)
    work.mkdir(parents=True, exist_ok=True)

    def render(sample: Sample) -> Prompt:
        return Prompt(sample.question, tuple(TASKS[sample.task]().render(sample, store)))

    start, warmup_curve = _start(params, samples, render, work)
    trainer = _trainer(params, samples, render, start, work, log_metrics)
    sight = trainer.prove_sight(trainer.train_dataset.select(range(min(SIGHT_PROMPTS, len(samples)))).to_list())
    log.info("the loss sees the video: other pixels move its log-probabilities by up to %.2g nats", sight)
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(work / "grpo"))
    _publish_model(trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class, work / "policy")
    report = TrainReport(warmup_curve, RunLog(work / "grpo.jsonl").read(), sight, work)
    _publish(start, start_dir)
    _publish(work / "policy", policy_dir)
    _write_json(report_path, {"warmup": report.warmup, "grpo": report.grpo, "sight_nats": report.sight_nats})
    return report


def _key(params: TrainParams, samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(params), sort_keys=True).encode())
    for sample in samples:
        digest.update(json.dumps(dataclasses.asdict(sample), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _start(
    params: TrainParams, samples: Sequence[Sample], render: Callable[[Sample], Prompt], work: Path
) -> tuple[Path, list[dict[str, float]]]:
    """The folder of the policy GRPO starts from, and the warm start's loss curve (empty for a loaded policy)."""
    start, curve_path = work / "start", work / "warmup.json"
    if start.exists():
        return start, json.loads(curve_path.read_text()) if curve_path.exists() else []
    if params.policy != NEWBORN:
        load_processor(params.policy)
        half = _fresh(work / "start.half")
        _write_json(half / POINTER, {"policy": params.policy})
        half.replace(start)
        return start, []
    infant = work / "newborn"
    if not (infant / "model.safetensors").exists():
        half = _fresh(work / "newborn.half")
        newborn(params.newborn, [f"{sample.question} {sample.answer}" for sample in samples], params.seed, half)
        shutil.rmtree(infant, ignore_errors=True)
        half.replace(infant)
    model, processor = load_model(infant, "float32").to(_device()), load_processor(infant)
    curve = warm_up(model, processor, samples, render, params.warmup, params.seed, work / "warmup.pt")
    _write_json(curve_path, curve)
    _publish_model(model, processor, start)
    return start, curve


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve(folder: Path) -> str:
    """The checkpoint a policy folder stands for: itself, or the name its pointer holds."""
    pointer = folder / POINTER
    if pointer.exists():
        return json.loads(pointer.read_text())["policy"]
    if not (folder / "config.json").exists():
        raise PolicyError(f"{folder} must hold a checkpoint (config.json): run the train stage first")
    return str(folder)


def _trainer(
    params: TrainParams,
    samples: Sequence[Sample],
    render: Callable[[Sample], Prompt],
    start: Path,
    work: Path,
    log_metrics: Callable[[dict[str, float], int], None],
) -> VideoGRPOTrainer:
    name = resolve(start)
    model = load_model(name, "bfloat16" if params.grpo.bf16 else "float32")
    by_id = {sample.sample_id: sample for sample in samples}
    rows = [
        {"prompt": s.question, "sample_id": s.sample_id, "task": s.task, "variant": s.variant, "answer": s.answer}
        for s in samples
    ]
    trainer = VideoGRPOTrainer(
        model=model,
        reward_funcs=verified_reward(params.reward, params.grpo.group_size, blind_floors(samples)),
        args=_config(params, work, vision_token_ids(model)),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_processor(name),
        render=lambda row: render(by_id[row["sample_id"]]),
        shared_prefix=params.shared_prefix,
    )
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    trainer.add_callback(Progress(RunLog(work / "grpo.jsonl"), log_metrics))
    trainer.add_callback(WholeCheckpoints())
    return trainer


def _config(params: TrainParams, work: Path, suppressed: list[int]) -> GRPOConfig:
    grpo: GrpoParams = params.grpo
    return GRPOConfig(
        output_dir=str(work / "grpo"),
        seed=params.seed,
        max_steps=grpo.steps,
        per_device_train_batch_size=grpo.prompts_per_forward * grpo.group_size,
        gradient_accumulation_steps=grpo.prompts_per_step // grpo.prompts_per_forward,
        num_generations=grpo.group_size,
        max_completion_length=grpo.max_completion_tokens,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type=grpo.lr_schedule,
        max_grad_norm=grpo.max_gradient_norm,
        beta=grpo.kl_coefficient,
        temperature=grpo.temperature,
        loss_type=grpo.loss_type,
        scale_rewards=grpo.scale_rewards,
        bf16=grpo.bf16,
        gradient_checkpointing=grpo.gradient_checkpointing,
        generation_kwargs={"suppress_tokens": suppressed},
        remove_unused_columns=False,
        logging_steps=1,
        save_steps=grpo.checkpoint_every,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


def verified_reward(kind: str, group_size: int, floors: Mapping[str, float]) -> Callable[..., list[float]]:
    """The reward TRL calls: each completion scored by arithmetic, with metrics per task.

    `kind` is `smooth` or `strict` (paper, Table 4). Logs per task the mean reward, the skill (how much of the way from
    the blind floor to 1 the smooth reward has come), the share of replies that parse, and the share of groups whose
    rewards are all equal and so teach nothing.
    """
    score = {"smooth": rewards.score, "strict": rewards.strict}[kind]

    def verified(
        completions: Sequence[str],
        task: Sequence[str],
        answer: Sequence[str],
        log_metric: Callable[[str, float], None],
        **unused: Any,
    ) -> list[float]:
        scores = [score(t, c, a) for t, c, a in zip(task, completions, answer, strict=True)]
        smooth = [rewards.score(t, c, a) for t, c, a in zip(task, completions, answer, strict=True)]
        for name in sorted(set(task)):
            mine = [i for i, t in enumerate(task) if t == name]
            groups = [[scores[i] for i in mine[at : at + group_size]] for at in range(0, len(mine), group_size)]
            log_metric(f"reward/{name}", sum(scores[i] for i in mine) / len(mine))
            floor = floors[name]
            log_metric(f"skill/{name}", (sum(smooth[i] for i in mine) / len(mine) - floor) / (1 - floor))
            log_metric(f"zero_variance/{name}", sum(max(g) == min(g) for g in groups) / len(groups))
            log_metric(f"parsed/{name}", sum(rewards.parsed(name, completions[i], answer[i]) for i in mine) / len(mine))
        return scores

    return verified


class WholeCheckpoints(TrainerCallback):
    """Marks a checkpoint as whole after its last byte is written, so that a kill during the write is seen."""

    MARK = "WHOLE"

    def on_save(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / self.MARK).touch()


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; torn ones are removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for torn in [path for path in checkpoints if not (path / WholeCheckpoints.MARK).exists()]:
        log.warning("removing %s: it was not written to its end", torn)
        shutil.rmtree(torn)
    whole = [path for path in checkpoints if path.exists()]
    return str(whole[-1]) if whole else None


def _publish_model(model: Any, processor: Any, folder: Path) -> None:
    half = _fresh(folder.with_name(folder.name + ".half"))
    model.save_pretrained(half)
    processor.save_pretrained(half)
    shutil.rmtree(folder, ignore_errors=True)
    half.replace(folder)


def _publish(source: Path, target: Path) -> None:
    half = target.with_name(target.name + ".half")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(source, half)
    shutil.rmtree(target, ignore_errors=True)
    half.replace(target)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".half")
    half.write_text(json.dumps(value, indent=1), encoding="utf-8")
    half.replace(path)
