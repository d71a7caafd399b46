"""From the snapshot of a source to an inventory: obtain the files, inspect each, drop duplicates, split by content.

A file that cannot be used is rejected with a reason and never stops the run. The hash of the content decides the split:
no video is in both splits, and adding videos does not change the split of the others. The windows of a long video
(`IngestParams.window_seconds`) are in the split of the video.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from videossr.errors import SourceError
from videossr.ingest.cache import inspect_all
from videossr.ingest.inspect_file import InspectedVideo
from videossr.ingest.near_duplicates import group_near_duplicates
from videossr.ingest.obtain import obtain_files
from videossr.ingest.params import IngestParams
from videossr.ingest.snapshot import Snapshot
from videossr.ingest.sources import require_not_empty
from videossr.parallel import Workers
from videossr.records import RejectedFile, Split, Video

# Outside the graph: DVC would clear an output before each run, so a kill would lose all of it, and would keep a copy.
FETCHED_DIR = Path("work/fetched")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inventory:
    """The usable videos of a source in the order of its snapshot, and its rejected files sorted by path."""

    videos: list[Video]
    rejected: list[RejectedFile]


def ingest(
    params: IngestParams,
    snapshot: Snapshot,
    made_videos_dir: Path,
    workers: Workers,
    min_frames: int = 48,
    span: tuple[float, float] = (0.05, 0.95),
    fetched_dir: Path = FETCHED_DIR,
    work_dir: Path | None = None,
) -> Inventory:
    """Obtain, hash, probe and split the videos that `snapshot`, a snapshot of `params.source`, lists.

    A video needs `min_frames` frames within the fractions `span` of its duration. Described videos are made in
    `made_videos_dir`, which is emptied otherwise; remote files are fetched into `fetched_dir`. With a `work_dir`,
    inspections are cached there: a later call inspects only new and changed files.
    Raises SourceError if the snapshot is of another source, or the source can no longer be used as a whole.
    """
    if snapshot.source != params.source:
        raise SourceError(
            f"the listing is of the source {snapshot.source}, and ingest.source is {params.source}: run `dvc repro`, "
            "which lists it first"
        )
    require_not_empty(snapshot.entries, params.source)
    paths, rejected = obtain_files(snapshot, params.seed, made_videos_dir, fetched_dir, workers)
    cache_file = work_dir / "inspections.jsonl" if work_dir else None
    inspections = inspect_all(paths, min_frames, span, params.limits, workers, cache_file, params.windows)
    inspected: list[InspectedVideo] = []
    for inspection in tqdm(inspections, total=len(paths), desc="ingest", unit="file"):
        if isinstance(inspection, RejectedFile):
            rejected.append(inspection)
        else:
            inspected.append(inspection)
    unique, duplicates = _drop_duplicates(inspected)
    too_short = [window for each in unique if each.cut for window in each.cut.too_short]
    rejected = sorted(rejected + duplicates + too_short, key=lambda file: file.path)
    for file in rejected:
        _log.warning("%s is not used: %s", file.path, file.detail or file.reason)
    return Inventory(_split(unique, _group_copies(unique), params.bench_fraction), rejected)


def require_usable(inventory: Inventory, source: str) -> None:
    """Raise SourceError where no video is usable. Call it after the list of rejected files is written."""
    if not inventory.videos:
        counts = Counter(file.reason for file in inventory.rejected)
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        raise SourceError(
            f"none of the {len(inventory.rejected)} files under {source} can be used ({reasons}): "
            "`videossr quarantine` names them"
        )


def _drop_duplicates(inspected: Sequence[InspectedVideo]) -> tuple[list[InspectedVideo], list[RejectedFile]]:
    """The first video of each content, and the others as rejected files."""
    first_by_id: dict[str, InspectedVideo] = {}
    duplicates = []
    for each in inspected:
        first = first_by_id.setdefault(each.video.video_id, each)
        if first is not each:
            duplicates.append(RejectedFile(each.video.path, "duplicate", f"the same bytes as {first.video.path}"))
    return list(first_by_id.values()), duplicates


def _group_copies(inspected: Sequence[InspectedVideo]) -> dict[str, str]:
    """Video id -> the lowest id among the videos that look like it, itself included."""
    ordered = sorted(inspected, key=lambda each: each.video.video_id)
    firsts = group_near_duplicates([each.signature for each in ordered])
    groups = {each.video.video_id: ordered[first].video.video_id for each, first in zip(ordered, firsts, strict=True)}
    if num_copies := sum(video_id != group for video_id, group in groups.items()):
        _log.info("%d videos look like another one, and are in the same split as it", num_copies)
    return groups


def _split(inspected: Sequence[InspectedVideo], groups: Mapping[str, str], bench_fraction: float) -> list[Video]:
    """The videos or their windows, with short ids and a split: bench where the second half of the group's hash, as a
    fraction of its range, is below `bench_fraction`. With two groups or more, each split gets at least one.
    """
    fractions = {group: int(group[32:48], 16) / 2**64 for group in groups.values()}
    bench = {group for group, fraction in fractions.items() if fraction < bench_fraction}
    if len(fractions) >= 2 and not bench:
        bench = {min(fractions, key=lambda group: fractions[group])}
    elif len(fractions) >= 2 and len(bench) == len(fractions):
        bench.remove(max(fractions, key=lambda group: fractions[group]))
    splits: dict[str, Split] = {video_id: "bench" if group in bench else "train" for video_id, group in groups.items()}
    return [
        replace(part, split=splits[each.video.video_id])
        for each in inspected
        for part in (each.cut.usable if each.cut else [replace(each.video, video_id=each.video.video_id[:16])])
    ]
