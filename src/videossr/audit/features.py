"""Statistics of every sample in every rendering of its kind: the only module of the audit that renders samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from videossr.audit.renderings import JpegStore, Rendering
from videossr.audit.statistics import clip_statistics
from videossr.clip import Clip
from videossr.dataset.last_clip import LastClipCache
from videossr.pretext import PretextTask
from videossr.records import Sample


@dataclass(frozen=True)
class ShownSample:
    """One rendered sample without its pixels.

    `statistics` is float64 [clips, frames, statistics]. `times` is float64 [frames], in seconds, of the first clip.
    """

    sample: Sample
    statistics: NDArray[np.float64]
    times: NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """What the audit measures on pixels.

    `rendered` maps (kind, name of the rendering) to the rendered samples. `differences` maps a kind to the
    mean pixel difference (0..255) that the edit of each of its samples makes.
    """

    rendered: dict[tuple[str, str], list[ShownSample]]
    differences: dict[str, list[float]]


def measure_features(
    tasks: Mapping[str, PretextTask],
    samples: Sequence[Sample],
    renderings: Mapping[str, Sequence[Rendering]],
    store: Mapping[str, Clip],
) -> Features:
    """Render every sample in the renderings of its kind (`renderings`: kind -> renderings) and measure its frames.

    Memory does not grow with the number of videos.
    """
    features = Features({}, {})
    by_video = sorted(samples, key=lambda sample: (sample.video_id, sample.sample_id))
    lossless_store, jpeg_store = LastClipCache(store), LastClipCache(JpegStore(store))
    for sample in tqdm(by_video, desc="audit", unit="sample"):
        task, kind = tasks[sample.task], sample.kind
        for rendering in renderings[kind]:
            source = jpeg_store if rendering.reads_jpeg else lossless_store
            clips = rendering.postprocess(sample, task.render(sample, source))
            statistics = np.stack([clip_statistics(clip) for clip in clips])
            shown = ShownSample(sample, statistics, clips[0].times)
            features.rendered.setdefault((kind, rendering.name), []).append(shown)
        features.differences.setdefault(kind, []).append(task.perceptibility(sample, lossless_store))
    return features
