"""How visible edits are, measured on the stored frames: in parallel, each video decoded once for its samples.

With a journal, what was measured before a kill is not measured again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from videossr.clip import Clip
from videossr.dataset.last_clip import LastClipCache
from videossr.dataset.samples import canonical_edit
from videossr.parallel import Workers, parallel_map
from videossr.pretext import PretextTask
from videossr.records import Sample
from videossr.storage.jsonl import append_jsonl, read_jsonl

Identity = tuple[str, str, str]

_SAMPLES_PER_CHUNK = 24  # several chunks of a video keep all processes busy, and decoding it takes less time than they
_MIN_SAMPLES_FOR_WORKERS = 200  # fewer take less time than starting processes


def identity(sample: Sample) -> Identity:
    """Video, kind and edit: what decides the frames of a sample, whatever its id."""
    return sample.video_id, sample.kind, canonical_edit(sample)


@dataclass(frozen=True)
class Differences:
    """Measures the `perceptibility` of samples on the frames of `store`.

    `journal` is a file of JSON lines that belongs to these frames, tasks and code: it is read first and appended to.
    """

    tasks: Mapping[str, PretextTask]
    store: Mapping[str, Clip]
    workers: Workers = 0
    journal: Path | None = None

    def measure(self, samples: Sequence[Sample], title: str) -> list[float]:
        """The difference of each sample, 0..255; `title` is that of the progress bar. `workers` changes no result."""
        known = self._read_journal()
        missing = {identity(sample): sample for sample in samples if identity(sample) not in known}
        chunks = list(_chunks(missing.values()))
        measure = partial(_measure, tasks=self.tasks, store=self.store)
        results = parallel_map(measure, chunks, self.workers if len(missing) >= _MIN_SAMPLES_FOR_WORKERS else 0)
        with tqdm(total=len(samples), initial=len(samples) - len(missing), desc=title, unit="question") as bar:
            for chunk, values in zip(chunks, results, strict=True):
                found = dict(zip(map(identity, chunk), values, strict=True))
                self._append_journal(found)
                known |= found
                bar.update(len(chunk))
        return [known[identity(sample)] for sample in samples]

    def _read_journal(self) -> dict[Identity, float]:
        if self.journal is None:
            return {}
        return {(row["video"], row["kind"], row["edit"]): row["difference"] for row in read_jsonl(self.journal)}

    def _append_journal(self, found: Mapping[Identity, float]) -> None:
        if self.journal is not None:
            rows = [
                {"video": video, "kind": kind, "edit": edit, "difference": value}
                for (video, kind, edit), value in found.items()
            ]
            append_jsonl(self.journal, rows)


def _chunks(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Samples of one video each, so that a process decodes it once for all of them."""
    by_video = sorted(samples, key=lambda sample: sample.video_id)
    for _, group in groupby(by_video, key=lambda sample: sample.video_id):
        of_video = list(group)
        yield from (of_video[i : i + _SAMPLES_PER_CHUNK] for i in range(0, len(of_video), _SAMPLES_PER_CHUNK))


def _measure(samples: Sequence[Sample], tasks: Mapping[str, PretextTask], store: Mapping[str, Clip]) -> list[float]:
    clips = LastClipCache(store)
    return [tasks[sample.task].perceptibility(sample, clips) for sample in samples]
