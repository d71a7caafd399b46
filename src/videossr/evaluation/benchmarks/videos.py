"""Which videos of a benchmark are on this machine."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from videossr.evaluation.benchmarks.items import Item, VideoRef

VIDEO_ENDINGS = (".mp4", ".MP4", ".mkv", ".webm", ".avi", ".mov")


@dataclass(frozen=True)
class FoundVideos:
    """The videos of a benchmark in a folder.

    `present` maps the path in an item to the file, or to the folder of frames. `missing` are the paths without one, and
    `items_missing` the ids of the questions that lack at least one video. `num_items` counts all questions.
    """

    present: Mapping[str, Path]
    missing: tuple[str, ...]
    items_missing: frozenset[str]
    num_items: int

    @property
    def num_videos(self) -> int:
        return len(self.present) + len(self.missing)


def find_videos(items: Sequence[Item], folder: Path) -> FoundVideos:
    """Look for every video of the items in `folder`: at its path, or there under another ending of video files.

    Questions without their video stay questions: asked or not, `scoring.score` has them in its denominator.
    """
    found = {path: _find(ref, folder) for path, ref in {ref.path: ref for item in items for ref in item.videos}.items()}
    present = {path: file for path, file in found.items() if file is not None}
    lacking = frozenset(item.id for item in items if any(ref.path not in present for ref in item.videos))
    return FoundVideos(present, tuple(path for path in found if path not in present), lacking, len(items))


def _find(ref: VideoRef, folder: Path) -> Path | None:
    path = folder / ref.path
    if ref.is_frame_folder:
        return path if path.is_dir() else None
    return next((file for file in _candidates(path) if file.is_file()), None)


def _candidates(path: Path) -> Iterator[Path]:
    yield path
    yield from (path.with_suffix(ending) for ending in VIDEO_ENDINGS)
