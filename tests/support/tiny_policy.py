"""A tiny random policy and a few made videos, small enough for a test to train on them in seconds."""

from functools import cache
from pathlib import Path

import numpy as np

from videossr.clip import Clip
from videossr.ingest.synthetic import SyntheticParams, draw_video
from videossr.models.tiny_random import TinyRandomParams, write_tiny_random
from videossr.pretext import Counting, Grounding, Jigsaw
from videossr.records import FrameTimes, Sample

NUM_STORED = 16
TINY = TinyRandomParams(text_width=64, text_layers=2, vision_width=64, vision_layers=2)
TASKS = {
    "grounding": Grounding(num_frames=8, min_length=2, max_length=4),
    "counting": Counting(num_frames=16, min_gap=1),
    "jigsaw": Jigsaw(frames_per_clip_6=2, frames_per_clip_8=2),
}
VARIANTS = (("grounding", "mirror"), ("grounding", "invert"), ("counting", "easy"), ("jigsaw", "8"))


@cache
def clips(count: int = 6) -> dict[str, Clip]:
    """Made videos by id: 16 stored frames of 64x64, a third of a second apart."""
    params = SyntheticParams(min_seconds=5.0, max_seconds=5.0, size_pixels=64, fps=4)
    times = np.arange(NUM_STORED) / 3
    return {f"video{i}": Clip(draw_video(params, 0, i)[:NUM_STORED], times) for i in range(count)}


def samples(count: int, seed: int = 0) -> list[Sample]:
    """Samples of every task in turn."""
    made = []
    for i in range(count):
        task, variant = VARIANTS[i % len(VARIANTS)]
        video_id = f"video{i % 6}"
        video = FrameTimes(video_id, tuple(clips()[video_id].times.tolist()))
        sample = TASKS[task].generate(video, variant, np.random.default_rng([seed, i]), sorted(clips()))
        made.append(Sample(**{**vars(sample), "sample_id": f"s{i:04d}"}))
    return made


def write_tiny(folder: Path) -> Path:
    """A checkpoint of a tiny random policy whose tokenizer was trained on these samples."""
    write_tiny_random(TINY, [f"{sample.question} {sample.answer}" for sample in samples(32)], 0, folder)
    return folder
