"""VIUBench as a data set of its own: questions, frames at the paper's size, a card and a hash, from any videos.

<out>/README.md           the card: counts, how often a video is used, licence, hash
<out>/dataset.json        the same for programs
<out>/viubench.parquet    the questions, as edits
<out>/videos.parquet      the videos
<out>/rejected.parquet    the files that are not used, and why
<out>/frames/             the frame store
<out>/work/               while it is built: a build that was killed continues there
"""

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from videossr.dataset.build import build_viubench
from videossr.dataset.params import BenchSet, PretextParams
from videossr.dataset.samples import write_samples
from videossr.errors import ConfigError, SourceError
from videossr.frames.sampling import FramesParams
from videossr.frames.shard_cache import CODE as FRAMES_CODE
from videossr.frames.shard_cache import LIBRARIES
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.ingest.inventory import Inventory, ingest, require_usable
from videossr.ingest.manifest import read_manifest, write_manifest
from videossr.ingest.params import IngestParams
from videossr.ingest.snapshot import take_snapshot
from videossr.parallel import Workers
from videossr.records import RejectedFile, Sample, Video, source_of
from videossr.storage.atomic import write_json, write_text
from videossr.storage.fingerprint import code_fingerprint, folder_fingerprint
from videossr.storage.quarantine import write_quarantine

QUESTIONS, VIDEOS, REJECTED, FRAMES = "viubench.parquet", "videos.parquet", "rejected.parquet", "frames"
CARD, SUMMARY = "README.md", "dataset.json"
LICENCE = "not stated: the terms of the source videos hold"

# The paper, section 5: 48 frames at up to 512 x 512.
PAPER_FRAMES = FramesParams(num_frames=48, max_pixels=512 * 512, min_pixels=128 * 128)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ViubenchParams:
    """What decides a data set: the source of videos, the seed, questions a column, the stored frames, the licence.

    `manifest` is the manifest of a training run: no video that it has in its training split is used.
    """

    source: str
    seed: int = 0
    per_column: int = 300
    frames: FramesParams = PAPER_FRAMES
    licence: str = LICENCE
    manifest: Path | None = None


def build_data_set(params: ViubenchParams, pretext: PretextParams, out: Path, workers: Workers) -> dict[str, Any]:
    """Build a VIUBench in `out` and return its summary, which `dataset.json` holds.

    The questions are a function of the videos' bytes and the parameters. The same call continues a build that was
    killed. Raises ConfigError where `out` holds a finished data set, SourceError where no video can be used.
    """
    if (out / SUMMARY).exists():
        raise ConfigError(f"{out} already holds a VIUBench: choose another folder, or remove it")
    work = out / "work"
    inventory = _find_videos(params, work, workers)
    write_quarantine(out / REJECTED, inventory.rejected)
    require_usable(inventory, params.source)
    videos, num_trained = _leave_out_trained(inventory.videos, params.manifest)
    rejected = write_store(videos, out / FRAMES, params.frames, workers, work / "frames")
    write_quarantine(out / REJECTED, sorted([*inventory.rejected, *rejected], key=lambda file: file.path))
    store = FrameStore(out / FRAMES)
    stored = [video for video in videos if video.video_id in store]
    require_usable(Inventory(stored, rejected), params.source)
    bench = replace(pretext, seed=params.seed, viubench=BenchSet(params.per_column))
    samples = build_viubench(bench, store.frame_times(), workers, store, _journal(work, params.frames))
    write_manifest(out / VIDEOS, stored)
    write_samples(out / QUESTIONS, samples)
    shutil.rmtree(work)
    (out / f"{FRAMES}.readers.parquet").unlink(missing_ok=True)
    summary = _summarise(params, samples, stored, num_trained, [*inventory.rejected, *rejected])
    summary["sha256"] = _digest(out)
    write_text(out / CARD, render_card(summary))
    write_json(out / SUMMARY, summary, indent=2)  # its existence marks the data set as finished
    return summary


def _digest(out: Path) -> str:
    """SHA-256 of questions and frames, hex. The paths of the videos are not in it: they differ between machines."""
    questions = hashlib.sha256((out / QUESTIONS).read_bytes()).hexdigest()
    return hashlib.sha256(f"{questions} {folder_fingerprint(out / FRAMES)}".encode()).hexdigest()


def _journal(work: Path, frames: FramesParams) -> Path:
    """The file of the differences that this code measured on frames of these parameters."""
    made_by = [asdict(frames), code_fingerprint((*FRAMES_CODE, "pretext/*.py"), LIBRARIES)]
    return work / f"differences-{hashlib.sha256(json.dumps(made_by).encode()).hexdigest()[:16]}.jsonl"


def _find_videos(params: ViubenchParams, work: Path, workers: Workers) -> Inventory:
    source = IngestParams(params.source, params.seed)
    made = work / "made_videos"
    found = ingest(
        source,
        take_snapshot(params.source, made),
        made,
        workers,
        min_frames=params.frames.num_frames,
        span=params.frames.span,
        fetched_dir=work / "fetched",
        work_dir=work / "ingest",
    )
    return Inventory([replace(video, split="bench") for video in found.videos], found.rejected)


def _leave_out_trained(videos: Sequence[Video], manifest: Path | None) -> tuple[list[Video], int]:
    """The videos whose bytes no training video of the manifest has, and how many were left out."""
    if manifest is None:
        return list(videos), 0
    trained = {source_of(video.video_id) for video in read_manifest(manifest) if video.split == "train"}
    left = [video for video in videos if source_of(video.video_id) not in trained]
    if not left:
        raise SourceError(
            f"all {len(videos)} videos are training videos of {manifest}: name a source of other videos, or raise "
            "ingest.bench_fraction of that run"
        )
    if len(left) < len(videos):
        _log.info("%d videos are training videos of %s and not used", len(videos) - len(left), manifest)
    return left, len(videos) - len(left)


def _summarise(
    params: ViubenchParams,
    samples: Sequence[Sample],
    videos: Sequence[Video],
    num_trained: int,
    rejected: Sequence[RejectedFile],
) -> dict[str, Any]:
    uses = Counter(sample.video_id for sample in samples)
    return {
        "questions": len(samples),
        "columns": dict(Counter(sample.kind for sample in samples)),
        "videos": len(videos),
        "questions_per_video": [min(uses.values()), max(uses.values())],
        "seconds": round(sum(video.duration_seconds for video in videos), 3),
        "rejected": dict(Counter(file.reason for file in rejected)),
        "training_videos_left_out": num_trained,
        "checked_against_a_manifest": params.manifest is not None,
        "seed": params.seed,
        "frames": {**asdict(params.frames), "span": list(params.frames.span)},
        "licence": params.licence,
    }


def render_card(summary: Mapping[str, Any]) -> str:
    """The card of a data set as Markdown. `summary` is dataset.json."""
    frames, (fewest, most) = summary["frames"], summary["questions_per_video"]
    side = f"{frames['num_frames']} frames of each, at most {frames['max_pixels']:,} pixels"
    columns = "".join(f"| {kind} | {count:,} |\n" for kind, count in summary["columns"].items())
    disjoint = (
        f"By the hash of their content, none is a training video of the manifest that was given; "
        f"{summary['training_videos_left_out']:,} were left out for that reason."
        if summary["checked_against_a_manifest"]
        else "No manifest of a training run was given: whether a policy was trained on these videos is not known here."
    )
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in summary["rejected"].items()) or "none"
    return f"""# VIUBench

{summary["questions"]:,} questions about {summary["videos"]:,} videos ({summary["seconds"]:,.0f} s).

Arithmetic makes them from raw videos (arXiv 2511.06281): when was the video tampered with, how many shapes were drawn
into it, in which order do its clips belong? They are not the questions of the paper, which has other videos.

| column | questions |
|---|---|
{columns}
- Frames: {side}, with their presentation times.
- A video is used in {fewest:,} to {most:,} questions. Intervals must resample videos, not questions.
- {disjoint}
- Files not used: {rejected}.
- Seed {summary["seed"]}. SHA-256 of questions and frames: `{summary["sha256"]}`.

Licence of the videos: {summary["licence"]}
"""


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a data set. Raises SourceError where the folder holds no finished one."""
    try:
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        raise SourceError(
            f"{folder} holds no finished VIUBench: `videossr viubench build SOURCE {folder}` makes one, or continues it"
        ) from None
    return dict(content)
