"""Stored replies together with the items that they answer: what can be scored and compared without a model.

Two forms of files are read: those of a benchmark (`downstream.store`) and those of the run's own VIUBench
(`evaluation.runner`). The header of each holds a digest of its items, which the items found here must have.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videossr.dataset.samples import read_samples
from videossr.errors import BenchmarkError
from videossr.evaluation.benchmarks import BENCHMARKS, Items, load
from videossr.evaluation.benchmarks.scoring import Replies
from videossr.evaluation.downstream.run import read_answers
from videossr.evaluation.downstream.store import Header, VideoTimes
from videossr.evaluation.runner import read_scored_replies, samples_digest
from videossr.storage.jsonl import read_jsonl


@dataclass(frozen=True)
class Evaluation:
    """The replies of one policy to one benchmark: `replies` is None for a failed attempt, and lacks what was not asked.

    `times` are the seconds of the frames that were shown, by item and video; empty where they are not stored.
    """

    path: Path
    header: Header
    items: Items
    replies: Replies
    times: Mapping[str, VideoTimes]

    @property
    def key(self) -> str:
        return self.items.benchmark.key

    @property
    def policy(self) -> str:
        return str(self.header.get("policy", ""))

    @property
    def setting(self) -> dict[str, Any]:
        """Everything of the header but the policy: frames, protocol, prompts, decoding."""
        return {name: value for name, value in self.header.items() if name != "policy"}


class ItemFolders:
    """Where the items of stored replies are: `annotations`/KEY for a benchmark, `samples` for the run's VIUBench."""

    def __init__(self, annotations: Path, samples: Path) -> None:
        self.annotations = annotations
        self.samples = samples
        self._loaded: dict[tuple[str, Any], Items] = {}

    def read(self, path: Path) -> Evaluation:
        """The replies in a file with their items.

        Raises StoreError where it is no file of replies, BenchmarkError where the items are not here or are others.
        """
        header = (read_jsonl(path)[:1] or [{}])[0].get("header")
        if isinstance(header, dict) and "samples" in header:
            return self._read_scored(path, header)
        answers = read_answers(path)
        key = str(answers.header.get("benchmark"))
        if key not in BENCHMARKS:
            raise BenchmarkError(
                f"{path} must hold replies to one of {', '.join(BENCHMARKS)}, its header names {key!r}: name another"
            )
        items = self._items(key, self.annotations / key, answers.header.get("layout"))
        if items.digest != answers.header.get("items"):
            raise BenchmarkError(
                f"{path} holds replies to other questions of {key} than those in {self.annotations / key}: name the "
                "folder of its annotations with --annotations"
            )
        return Evaluation(path, answers.header, items, answers.for_scoring, answers.times)

    def _read_scored(self, path: Path, header: Header) -> Evaluation:
        items = self._items("viubench", self.samples, None)
        if samples_digest(read_samples(self.samples / "viubench.parquet")) != header["samples"]:
            raise BenchmarkError(
                f"{path} holds replies to other samples than those in {self.samples}: name their folder with --samples"
            )
        return Evaluation(
            path, header, items, {each.sample_id: each.reply for each in read_scored_replies(path)}, times={}
        )

    def _items(self, key: str, folder: Path, layout: str | None) -> Items:
        if (key, layout) not in self._loaded:
            self._loaded[key, layout] = load(key, folder, layout=layout, check=False, counts=False)
        return self._loaded[key, layout]


def reply_files(path: Path) -> list[Path]:
    """`path` itself, or the files of replies in it where it is a folder. Raises BenchmarkError where there is none."""
    if not path.exists():
        raise BenchmarkError(f"{path} must be a file of replies or a folder of them, it does not exist: name another")
    if path.is_file():
        return [path]
    files = sorted(file for file in path.glob("*.jsonl") if not file.name.endswith(".errors.jsonl"))
    if not files:
        raise BenchmarkError(f"{path} must hold files of replies (*.jsonl), it has none: name another folder")
    return files


def match_evaluations(
    first: Sequence[Evaluation], second: Sequence[Evaluation]
) -> tuple[list[tuple[Evaluation, Evaluation]], list[Evaluation]]:
    """Pairs of the same benchmark and setting, in the order of the table of benchmarks, and what has no partner.

    One evaluation on each side is a pair whatever its setting. Raises BenchmarkError where a partner is ambiguous, or
    there is no pair.
    """
    if len(first) == len(second) == 1:
        return [(first[0], second[0])], []
    by_setting = [_by_setting(side) for side in (first, second)]
    pairs = [(each, by_setting[1][setting]) for setting, each in by_setting[0].items() if setting in by_setting[1]]
    if not pairs:
        raise BenchmarkError(
            "the two folders must hold replies to the same benchmark in the same setting (frames, protocol, prompts, "
            f"decoding), got {_keys(first)} and {_keys(second)}: name two files to compare across settings"
        )
    alone = [each for mine, other in (by_setting, by_setting[::-1]) for key, each in mine.items() if key not in other]
    order = list(BENCHMARKS)
    return sorted(pairs, key=lambda pair: order.index(pair[0].key)), alone


def _by_setting(evaluations: Iterable[Evaluation]) -> dict[str, Evaluation]:
    found: dict[str, Evaluation] = {}
    for each in evaluations:
        other = found.setdefault(repr(sorted(each.setting.items())), each)
        if other is not each:
            raise BenchmarkError(
                f"{other.path} and {each.path} hold replies to {each.key} in the same setting: name one file of them"
            )
    return found


def _keys(evaluations: Iterable[Evaluation]) -> str:
    return ", ".join(dict.fromkeys(each.key for each in evaluations))
