"""The policy that GRPO starts from: a checkpoint, or the tiny random policy after its warm start."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from videossr.clip import Clip
from videossr.errors import TrainingError
from videossr.frames.store import FrameStore
from videossr.models.checkpoint import POLICY_POINTER, is_adapters, load_model, load_processor
from videossr.models.policy import Prompt
from videossr.models.tiny_random import write_tiny_random
from videossr.pretext import PretextTask
from videossr.records import FrameTimes, Sample
from videossr.storage.atomic import atomic_folder, write_json
from videossr.train.params import TINY_RANDOM, TrainParams
from videossr.train.prompt_builder import PromptBuilder
from videossr.train.warmup import warm_up
from videossr.train.warmup_batches import WarmupBatches


def frame_times_of(store: Mapping[str, Clip]) -> Callable[[str], FrameTimes]:
    """From a video's id to its frame times. A frame store knows all without reading a frame."""
    indexed = {video.video_id: video for video in store.frame_times()} if isinstance(store, FrameStore) else {}

    def frame_times(video_id: str) -> FrameTimes:
        return indexed.get(video_id) or FrameTimes(video_id, tuple(store[video_id].times.tolist()))

    return frame_times


def prepare_start(
    params: TrainParams,
    samples: Sequence[Sample],
    render: Callable[[Sample], Prompt],
    frame_times: Callable[[str], FrameTimes],
    tasks: Mapping[str, PretextTask] | None,
    work: Path,
) -> tuple[Path, list[dict[str, float]]]:
    """The folder of the policy that GRPO starts from, and the warm start's curve (empty for a loaded policy).

    Both are written below `work`, where a warm start that was stopped continues. `tasks` are the tasks with the
    parameters that `samples` were made with. Raises PolicyError and TrainingError.
    """
    start, curve_path = work / "start", work / "warmup.json"
    work.mkdir(parents=True, exist_ok=True)
    if start.exists():
        return start, json.loads(curve_path.read_text()) if curve_path.exists() else []
    if params.policy != TINY_RANDOM:
        _write_loaded(params.policy, start)
        return start, []
    model, processor = _load_tiny_random(params, samples, work / TINY_RANDOM)
    prompt_builder = PromptBuilder(samples, render, processor, params.grpo.max_prompt_tokens, params.seed)
    if tasks is None and any(phase.mixture for phase in params.warmup.phases):
        raise TrainingError("a warm start that draws samples needs the tasks' parameters: pass `tasks` to train")
    batches = WarmupBatches(params.warmup, samples, tasks or {}, frame_times, prompt_builder, processor, params.seed)
    curve = warm_up(model, batches, params.warmup, processor.tokenizer.pad_token_id, work / "warmup.pt")
    write_json(curve_path, curve)
    with atomic_folder(start) as temporary:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
    return start, curve


def _write_loaded(policy: str, start: Path) -> None:
    """Write a pointer to the checkpoint, or the base with the adapters merged into it, from which GRPO starts."""
    processor = load_processor(policy)
    with atomic_folder(start) as temporary:
        if is_adapters(policy):
            load_model(policy).merge_and_unload().save_pretrained(temporary)
            processor.save_pretrained(temporary)
        else:
            write_json(temporary / POLICY_POINTER, {"policy": policy})


def _load_tiny_random(params: TrainParams, samples: Sequence[Sample], folder: Path) -> tuple[Any, Any]:
    """The tiny random policy and its processor, on the training device; written to `folder` first if need be."""
    if not (folder / "model.safetensors").exists():
        with atomic_folder(folder) as temporary:
            texts = [text for sample in samples for text in (sample.question, sample.answer)]
            write_tiny_random(params.tiny_random, texts, params.seed, temporary)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_model(folder, "float32").to(device), load_processor(folder)
