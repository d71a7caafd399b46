"""Every puzzle shown in every way, and what its frames' statistics are: the only part that looks at pixels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from videossr.audit.renderings import JpegStore, Rendering
from videossr.audit.statistics import clip_statistics
from videossr.clip import Clip
from videossr.pretext import PretextTask
from videossr.records import Sample

Key = tuple[str, str]  # kind and way


@dataclass(frozen=True)
class ShownSample:
    """One sample as it was shown: statistics float64 [clips, frames, statistics], times of the first clip's frames."""

    sample: Sample
    statistics: NDArray[np.float64]
    times: NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """What the probe may know of each kind in each way, and how much each edit changes what is seen (0..255)."""

    shown: dict[Key, list[ShownSample]]
    differences: dict[str, list[float]]


def measure_features(
    tasks: Mapping[str, PretextTask],
    samples: Sequence[Sample],
    ways: Mapping[str, Sequence[Rendering]],
    store: Mapping[str, Clip],
) -> Features:
    """Render every sample in the ways of its kind; `ways` maps a kind to them. Memory does not grow with the videos."""
    result = Features({}, {})
    by_video = sorted(samples, key=lambda sample: (sample.video_id, sample.sample_id))
    stored, files = _Recent(store), _Recent(JpegStore(store))
    for sample in tqdm(by_video, desc="audit", unit="sample"):
        task, kind = tasks[sample.task], sample.kind
        for way in ways[kind]:
            clips = way.finish(sample, task.render(sample, files if way.from_files else stored))
            statistics = np.stack([clip_statistics(clip) for clip in clips])
            result.shown.setdefault((kind, way.name), []).append(ShownSample(sample, statistics, clips[0].times))
        result.differences.setdefault(kind, []).append(task.perceptibility(sample, stored))
    return result


class _Recent(Mapping[str, Clip]):
    """A store that keeps the clip it read last: a video's samples come one after another."""

    def __init__(self, store: Mapping[str, Clip]) -> None:
        self._store = store
        self._held: tuple[str, Clip] | None = None

    def __getitem__(self, video_id: str) -> Clip:
        if self._held is None or self._held[0] != video_id:
            self._held = video_id, self._store[video_id]
        return self._held[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store)
