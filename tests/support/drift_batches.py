"""Batches of synthetic videos: ordinary ones, and those that differ from them; a project whose data is such a batch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.support.videos import write_frames
from videossr.frames.writing import write_store
from videossr.ingest.inventory import ingest
from videossr.ingest.manifest import write_manifest
from videossr.ingest.snapshot import take_snapshot
from videossr.ingest.synthetic import SyntheticParams, draw_video, make_videos
from videossr.recipe import load_recipe
from videossr.storage.quarantine import write_quarantine

SCENES = SyntheticParams(num_videos=24, min_seconds=4.5, max_seconds=6.0, size_pixels=32)


def make_batch(folder: Path, seed: int, scenes: SyntheticParams = SCENES) -> Path:
    """An ordinary batch of the generator."""
    folder.mkdir(parents=True)
    make_videos(scenes, seed, folder, 0)
    return folder


def darken(frames: np.ndarray) -> np.ndarray:
    return frames // 4


def write_planted(
    folder: Path,
    change: Callable[[np.ndarray], np.ndarray] = darken,
    codec: str = "libx264",
    refused: int = 0,
) -> Path:
    """A batch of the same generator whose frames are changed, with files that cannot be used."""
    folder.mkdir(parents=True)
    suffix = "avi" if codec == "mpeg4" else "mp4"
    for number in range(SCENES.num_videos):
        frames = change(draw_video(SCENES, 77, number))
        write_frames(folder / f"{number}.{suffix}", list(frames), codec, SCENES.fps)
    for number in range(refused):
        (folder / f"refused-{number}.mp4").write_text("no video")
    return folder


def write_data(project: Path) -> None:
    """What ingest and frames write, all of it for training. The working directory is the project."""
    recipe = load_recipe(project / "params.yaml")
    params = replace(recipe.ingest, source="videos")
    inventory = ingest(params, take_snapshot("videos", Path("made")), Path("made"), 0)
    videos = [replace(video, split="train") for video in inventory.videos]
    write_manifest(Path("data/manifest.parquet"), videos)
    write_store(videos, Path("data/frames"), recipe.frames, 0)
    write_quarantine(Path("data/quarantine.parquet"), inventory.rejected)
