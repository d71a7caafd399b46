"""Whether this machine has a benchmark: its annotations, as published, and its videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videossr.errors import BenchmarkError, StoreError
from videossr.evaluation.benchmarks.checks import RULES, unexpected
from videossr.evaluation.benchmarks.items import Item, Items
from videossr.evaluation.benchmarks.loading import load
from videossr.evaluation.benchmarks.videos import FoundVideos, find_videos

FRAMES = "frames"  # the frame store of a VIUBench, in its folder


@dataclass(frozen=True)
class LocalCopy:
    """What is here of a benchmark: `found` its videos, None where the annotations cannot be loaded (`fault` says why).

    `has_annotations` is false where no annotation file is in the folder at all.
    """

    key: str
    found: FoundVideos | None
    fault: str = ""
    has_annotations: bool = True

    @property
    def state(self) -> str:
        """In words: `ready`, `annotations missing`, `annotations faulty`, or `videos missing: n of m`."""
        if self.found is None:
            return "annotations faulty" if self.has_annotations else "annotations missing"
        missing = len(self.found.missing)
        return f"videos missing: {missing:,} of {self.found.num_videos:,}" if missing else "ready"


def examine_copy(name: str, annotations: Path, videos: Path) -> LocalCopy:
    """The state of the benchmark `name`, whose annotations and videos are in these two folders.

    No video is opened. Raises ConfigError for an unknown name.
    """
    try:
        items = load(name, annotations)
    except BenchmarkError as error:
        has_files = annotations.is_dir() and any(not path.name.startswith(".") for path in annotations.iterdir())
        return LocalCopy(name, None, str(error), has_files)
    return LocalCopy(name, find_benchmark_videos(items, videos))


def copy_faults(name: str, annotations: Path, videos: Path | None = None) -> list[str]:
    """Every fault of a local copy, a sentence each; empty where it is the published benchmark.

    Videos are looked for, not opened, where their folder is given. Raises ConfigError for an unknown name.
    """
    faults = []
    try:
        items = load(name, annotations, check=False)
    except BenchmarkError as error:
        faults.append(str(error))
        try:
            items = load(name, annotations, check=False, counts=False)
        except BenchmarkError:
            return faults  # it cannot be read at all: the first sentence says why
    faults += [
        f"{name}: {RULES[fault.rule]}, but item {fault.item_id}: {fault.detail}"
        for fault in unexpected(items.faults, items.benchmark.known_faults)
    ]
    return faults + (_missing_videos(items, videos) if videos is not None else [])


def find_benchmark_videos(items: Items, folder: Path) -> FoundVideos:
    """The videos of a benchmark in `folder`; those of VIUBench are in the frame store `frames` there."""
    if items.benchmark.family != "pretext":
        return find_videos(items, folder)
    return _find_stored(items, folder / FRAMES)


def _find_stored(items: Sequence[Item], root: Path) -> FoundVideos:
    from videossr.frames.store import FrameStore  # it imports tables, which no other benchmark needs

    try:
        stored = set(FrameStore(root))
    except StoreError:
        stored = set()
    paths = list(dict.fromkeys(ref.path for item in items for ref in item.videos))
    lacking = frozenset(item.id for item in items if any(ref.path not in stored for ref in item.videos))
    return FoundVideos(
        {path: root for path in paths if path in stored},
        tuple(path for path in paths if path not in stored),
        lacking,
        len(items),
    )


def _missing_videos(items: Items, folder: Path) -> list[str]:
    found = find_benchmark_videos(items, folder)
    if not found.missing:
        return []
    shown = ", ".join(found.missing[:3]) + (", .." if len(found.missing) > 3 else "")
    return [
        f"{items.benchmark.key}: {folder} must hold {found.num_videos:,} videos, {len(found.missing):,} are missing "
        f"({shown}), and with them the videos of {len(found.items_missing):,} questions: {items.benchmark.obtain}"
    ]
