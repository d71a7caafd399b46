"""From a folder of videos to a manifest: listed, hashed, probed, split; whatever cannot be used is named with a reason.

A bad file is a row of the quarantine, never a crash. The split is by content hash, so no video is in both halves and
adding videos moves no other one to the other half.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from videossr.errors import SourceError
from videossr.ingest.cache import examine_all
from videossr.ingest.near_duplicates import group_near_duplicates
from videossr.ingest.params import IngestParams
from videossr.ingest.signature import VisualSignature
from videossr.ingest.sources import listed, require_any
from videossr.parallel import Workers
from videossr.records import RejectedFile, Split, Video

# Outside the graph: DVC would clear an output before each run, so that a kill would cost all of it, and keep a copy.
FETCHED = Path("work/fetched")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inventory:
    """What a source holds: usable videos in the order of their paths, and the files that cannot be used."""

    videos: list[Video]
    rejected: list[RejectedFile]


def ingest(
    params: IngestParams,
    made_videos_dir: Path,
    workers: Workers,
    min_frames: int = 48,
    span: tuple[float, float] = (0.05, 0.95),
    fetched_dir: Path = FETCHED,
    work_dir: Path | None = None,
) -> Inventory:
    """List, hash, probe and split the videos of `params.source`.

    A video needs `min_frames` frames within the fractions `span` of its clock. Made videos are written to
    `made_videos_dir`, which is left empty otherwise, and those behind a URL to `fetched_dir`. What is known of each
    file is kept in `work_dir`, if there is one: a later call examines only files that are new or have changed.
    Raises SourceError where there is no source or it holds no file of a video suffix, ConfigError where a made source
    has unknown fields.
    """
    paths, rejected = listed(params.source, params.seed, made_videos_dir, fetched_dir, workers)
    require_any([*paths, *rejected], params.source)
    record = work_dir / "examined.jsonl" if work_dir else None
    examined = examine_all(paths, min_frames, span, params.limits, workers, record)
    results = list(tqdm(examined, total=len(paths), desc="ingest", unit="file"))
    rejected += [result for result in results if isinstance(result, RejectedFile)]
    seen = [result for result in results if not isinstance(result, RejectedFile)]
    unique, duplicates = _without_duplicates([video for video, _ in seen])
    rejected = sorted(rejected + duplicates, key=lambda item: item.path)
    for item in rejected:
        _log.warning("%s is not used: %s", item.path, item.detail or item.reason)
    return Inventory(_split(unique, _groups(unique, seen), params.bench_fraction), rejected)


def require_usable(inventory: Inventory, source: str) -> None:
    """Raise SourceError where nothing can be used; called when the refused files are written and can be read."""
    if not inventory.videos:
        counts = Counter(item.reason for item in inventory.rejected)
        told = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        raise SourceError(
            f"none of the {len(inventory.rejected)} files under {source} can be used ({told}): `videossr quarantine` "
            "names them"
        )


def _without_duplicates(videos: Sequence[Video]) -> tuple[list[Video], list[RejectedFile]]:
    """The first of each content, and the others with the path of the first."""
    first: dict[str, Video] = {}
    duplicates = []
    for video in videos:
        kept = first.setdefault(video.video_id, video)
        if kept is not video:
            duplicates.append(RejectedFile(video.path, "duplicate", f"the same bytes as {kept.path}"))
    return list(first.values()), duplicates


def _groups(videos: Sequence[Video], seen: Sequence[tuple[Video, VisualSignature]]) -> dict[str, str]:
    """Video id -> the id that stands for it and all that look like it."""
    looks = {video.video_id: look for video, look in seen}
    ordered = sorted(video.video_id for video in videos)
    firsts = group_near_duplicates([looks[video_id] for video_id in ordered])
    groups = {video_id: ordered[first] for video_id, first in zip(ordered, firsts, strict=True)}
    if copies := sum(video_id != group for video_id, group in groups.items()):
        _log.info("%d videos look like another one, and stay on its side of the split", copies)
    return groups


def _split(videos: Sequence[Video], groups: Mapping[str, str], bench_fraction: float) -> list[Video]:
    """Bench where the second half of the group's hash lies under the threshold; of two groups or more, each half gets
    one.
    """
    places = {group: int(group[32:48], 16) / 2**64 for group in groups.values()}
    bench = {video_id for video_id, place in places.items() if place < bench_fraction}
    if len(places) >= 2 and not bench:
        bench = {min(places, key=lambda video_id: places[video_id])}
    elif len(places) >= 2 and len(bench) == len(places):
        bench.remove(max(places, key=lambda video_id: places[video_id]))
    splits: dict[str, Split] = {video_id: "bench" if group in bench else "train" for video_id, group in groups.items()}
    return [replace(video, video_id=video.video_id[:16], split=splits[video.video_id]) for video in videos]
