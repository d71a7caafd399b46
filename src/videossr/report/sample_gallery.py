"""The sample gallery: a page with training samples and questions of VIUBench, each playing as the policy sees it."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from videossr import rewards
from videossr.clip import Clip
from videossr.dataset.samples import canonical_edit, read_samples
from videossr.evaluation.difficulty import FACTORS, difficulties
from videossr.evaluation.downstream.evaluations import Evaluation, ItemFolders
from videossr.frames.store import FrameStore
from videossr.ingest.manifest import read_manifest
from videossr.pretext import PretextTask, shapes
from videossr.pretext.perturbations import PERTURBATIONS, STRENGTH_DECIMALS
from videossr.records import VIDEO_MARKER, Sample
from videossr.report.browser import PageForm, write_browser
from videossr.report.contact_sheets import edited_frames, question_text
from videossr.report.item_frames import FrameStrip, make_strip

SAMPLES = Path("data/samples")
_MANIFEST, _FRAMES = Path("data/manifest.parquet"), Path("data/frames")
_LAST_REPLIES = (Path("reports/evaluate/before.jsonl"), Path("reports/evaluate/after.jsonl"))


@dataclass(frozen=True)
class GallerySample:
    """A sample of the set `source` with what the page says of it.

    `texts` are replies to it, None where a policy was not asked; `difficulty` has labels to filter by; `edit` are
    sentences; `videos` are the names of the shown clips.
    """

    sample: Sample
    source: str
    texts: tuple[str | None, ...]
    difficulty: tuple[str, ...]
    edit: tuple[str, ...]
    videos: tuple[str, ...]

    @property
    def item_id(self) -> str:
        return self.sample.sample_id

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        return {"task": (self.sample.task,), "variant": (self.sample.kind,), "difficulty": self.difficulty}

    @property
    def question(self) -> str:
        return question_text(self.sample)

    @property
    def answer(self) -> str:
        return self.sample.answer

    @property
    def replies(self) -> tuple[str | None, ...]:
        return self.texts

    @property
    def values(self) -> list[float | None]:
        return [self._score(text) if text is not None and self._parses(text) else None for text in self.texts]

    @property
    def detail(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "options": [],
            "answer": self.sample.answer,
            "windows": [],
            "seconds": None,
            "videos": list(self.videos),
            "edit": list(self.edit),
            "replies": [self._reply(text) for text in self.texts],
            "times": [],
        }

    def _reply(self, text: str | None) -> dict[str, Any]:
        if text is None:
            return {"text": None, "asked": False, "read": None, "values": {}}
        reward = rewards.score(self.sample.task, text, self.sample.answer)
        return {
            "text": text,
            "asked": True,
            "read": text.strip() if self._parses(text) else None,
            "values": {"reward": round(reward, 4), "score": round(self._score(text), 4)},
        }

    def _parses(self, text: str) -> bool:
        return rewards.parsed(self.sample.task, text, self.sample.answer)

    def _score(self, text: str) -> float:
        return rewards.metric(self.sample.task, text, self.sample.answer)


def choose_samples(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, evenly over their kinds and evenly spaced within each, in the order of `samples`."""
    by_kind: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_kind[sample.kind].append(sample)
    # Kinds with few samples first: what they leave over goes to the others.
    chosen: set[str] = set()
    for place, of_kind in enumerate(sorted(by_kind.values(), key=len)):
        share = min(len(of_kind), (count - len(chosen)) // (len(by_kind) - place))
        chosen |= {of_kind[number * len(of_kind) // share].sample_id for number in range(share)}
    return [sample for sample in samples if sample.sample_id in chosen]


def write_run_gallery(
    out: Path,
    tasks: Mapping[str, PretextTask],
    *,
    count: int,
    width: int = 256,
    samples: Path = SAMPLES,
    replies: Sequence[Path] | None = None,
    progress: bool = True,
) -> int:
    """Write the gallery of the project in the current folder, `count` samples of each set; returns their number.

    `replies` are files of replies to `viubench.parquet` in the folder `samples`; without, those of the last run.
    Raises BenchmarkError where a file holds replies to other samples.
    """
    read = {name: read_samples(samples / f"{name}.parquet") for name in ("train", "viubench")}
    paths = [path for path in _LAST_REPLIES if path.exists()] if replies is None else replies
    folders = ItemFolders(Path(), samples)
    sets = {name: choose_samples(each, count) for name, each in read.items()}
    names = {video.video_id: video.path for video in read_manifest(_MANIFEST)} if _MANIFEST.exists() else {}
    evaluations = {path.stem: folders.read(path) for path in paths}
    write_gallery(out, sets, evaluations, tasks, FrameStore(_FRAMES), names, width=width, progress=progress)
    return sum(map(len, sets.values()))


def write_gallery(
    out: Path,
    sets: Mapping[str, Sequence[Sample]],
    evaluations: Mapping[str, Evaluation],
    tasks: Mapping[str, PretextTask],
    store: Mapping[str, Clip],
    video_names: Mapping[str, str],
    *,
    width: int,
    progress: bool = True,
) -> None:
    """Write the gallery of `sets` (samples by name) to the folder `out` (`write_browser`).

    `evaluations` hold replies, by the name of the policy; `video_names` are the names of videos by id.
    """
    items = []
    for name, samples in sets.items():
        hard = difficulties(samples, store, progress)
        items += [_gallery_sample(sample, name, evaluations, hard, video_names) for sample in samples]
    form = PageForm(
        "Samples",
        list(evaluations),
        source="set",
        facets=("task", "variant", "difficulty"),
        hides_answers=True,
        files={str(each.path): dict(each.header) for each in evaluations.values()},
    )
    with tqdm(total=len(items), desc="frames", unit="sample", disable=not progress) as bar:

        def strips_of(place: int) -> list[FrameStrip]:
            bar.update()
            sample = items[place].sample
            edited = edited_frames(sample)
            clips = tasks[sample.task].render(sample, store)
            return [make_strip(clip, len(clip), width, edited) for clip in clips]

        write_browser(out, items, form, strips_of)


def _gallery_sample(
    sample: Sample,
    source: str,
    evaluations: Mapping[str, Evaluation],
    hard: Mapping[str, Mapping[str, float]],
    video_names: Mapping[str, str],
) -> GallerySample:
    name = video_names.get(sample.video_id, sample.video_id)
    num_clips = sample.question.count(VIDEO_MARKER)
    return GallerySample(
        sample=sample,
        source=source,
        texts=tuple(each.replies.get(sample.sample_id) for each in evaluations.values()),
        difficulty=tuple(
            f"{FACTORS[factor].axis}: {values[sample.sample_id]:g}"
            for factor, values in hard.items()
            if sample.sample_id in values
        ),
        edit=describe_edit(sample, video_names),
        videos=(name,) if num_clips == 1 else tuple(f"{name}, clip {number + 1}" for number in range(num_clips)),
    )


def describe_edit(sample: Sample, video_names: Mapping[str, str]) -> tuple[str, ...]:
    """What the edit of a sample changes, and where, in sentences; of a task that has no text here, its data."""
    describe = _DESCRIPTIONS.get(sample.task)
    return describe(sample, video_names) if describe else (canonical_edit(sample),)


def _describe_grounding(sample: Sample, video_names: Mapping[str, str]) -> tuple[str, ...]:
    edit, params = sample.edit, sample.edit["params"]
    first, last = edit["start"] + 1, edit["start"] + edit["length"]
    found = [
        f"{PERTURBATIONS[edit['perturbation']].description}: frames {first} to {last} of {edit['num_frames']}, "
        f"{sample.answer.replace('-', ' to ')} s"
    ]
    found += [f"{name.replace('_', ' ')}: {params[name]:g}" for name in STRENGTH_DECIMALS if name in params]
    if "order" in params:
        found.append(f"order of these frames: {', '.join(str(first + place) for place in params['order'])}")
    if "donor" in params:
        found.append(f"the frames are from {video_names.get(params['donor'], params['donor'])}")
    return tuple(found)


def _describe_counting(sample: Sample, video_names: Mapping[str, str]) -> tuple[str, ...]:
    drawn = sorted(sample.edit["shapes"], key=lambda shape: (shape["frame"], shapes.KINDS.index(shape["kind"])))
    found = []
    for (frame, kind), group in groupby(drawn, key=lambda shape: (shape["frame"], shape["kind"])):
        number = len(list(group))
        found.append(f"frame {frame + 1}: {number} {kind}{'' if number == 1 else 's'}")
    return tuple(found)


def _describe_jigsaw(sample: Sample, video_names: Mapping[str, str]) -> tuple[str, ...]:
    order = sample.edit["order"]
    parts = ", ".join(f"clip {number + 1} is part {part + 1}" for number, part in enumerate(order))
    return (f"the video was cut into {len(order)} parts: {parts}",)


_DESCRIPTIONS: dict[str, Callable[[Sample, Mapping[str, str]], tuple[str, ...]]] = {
    "grounding": _describe_grounding,
    "counting": _describe_counting,
    "jigsaw": _describe_jigsaw,
}
