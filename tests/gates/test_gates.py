"""The gate names the rows of every fault that was planted, and no others."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.gate_data import PARAMS, Data, MemoryStore, named, sound_data, video
from videossr.clip import Clip
from videossr.errors import ConfigError
from videossr.gates import GateFailure, GateResult, ValidateParams, write_gate
from videossr.records import FrameTimes, RejectedFile


@pytest.fixture(scope="module")
def sound() -> GateResult:
    return sound_data().validate()


# Each fault: a name, what it does to the data (returning the rows it breaks), and the one rule that must name them.
SampleFault = tuple[Callable[[Data], set[str]], str]


def a_repeated_id(data: Data) -> set[str]:
    first = data.train[data.only("train", "jigsaw/6")[0]].sample_id
    return {data.damage("train", "jigsaw/6", 1, sample_id=first)}


def an_unknown_variant(data: Data) -> set[str]:
    return {data.damage("train", "jigsaw/6", 2, variant="7")}


def a_marker_too_many(data: Data) -> set[str]:
    return {data.damage("train", "jigsaw/6", 3, question="<video>" * 7)}


def a_number_json_has_not(data: Data) -> set[str]:
    return {data.damage("train", "jigsaw/6", 4, edit={**data.edit("train", "jigsaw/6", 4), "weight": math.nan})}


def an_identity_order(data: Data) -> set[str]:
    edit = {**data.edit("train", "jigsaw/6", 5), "order": list(range(6))}
    return {data.damage("train", "jigsaw/6", 5, edit=edit, answer="123456")}


def a_shape_too_large(data: Data) -> set[str]:
    edit = data.edit("train", "counting/easy", 0)
    edit["shapes"][0]["size"] = 0.9
    return {data.damage("train", "counting/easy", 0, edit=edit)}


def shapes_on_top_of_each_other(data: Data) -> set[str]:
    edit = data.edit("train", "counting/easy", 1)
    edit["shapes"].append(dict(edit["shapes"][0]))
    kind = edit["shapes"][0]["kind"]
    kinds = Counter(shape["kind"] for shape in edit["shapes"])
    assert kinds[kind] > 1
    answer = ",".join(str(kinds[name]) for name in ("circle", "square", "triangle"))
    return {data.damage("train", "counting/easy", 1, edit=edit, answer=answer)}


def an_interval_beyond_the_clip(data: Data) -> set[str]:
    edit = {**data.edit("train", "grounding/mirror", 0), "start": 14}
    return {data.damage("train", "grounding/mirror", 0, edit=edit, answer="")}


def an_edit_without_its_keys(data: Data) -> set[str]:
    return {data.damage("train", "grounding/mirror", 1, edit={})}


def frames_that_are_not_stored(data: Data) -> set[str]:
    edit = {**data.edit("train", "grounding/fast", 0), "offset": 40}
    return {data.damage("train", "grounding/fast", 0, edit=edit)}


def a_video_without_frames(data: Data) -> set[str]:
    return {data.damage("train", "jigsaw/8", 0, video_id=video(100).video_id)}


def a_video_of_the_other_split(data: Data) -> set[str]:
    return {data.damage("viubench", "counting/hard", 0, video_id=video(1).video_id)}


def a_donor_of_the_other_split(data: Data) -> set[str]:
    edit = data.edit("viubench", "grounding/swap", 0)
    edit["params"]["donor"] = video(2).video_id
    return {data.damage("viubench", "grounding/swap", 0, edit=edit)}


def a_wrong_answer(data: Data) -> set[str]:
    return {data.damage("train", "grounding/mirror", 2, answer="0.0-9.9")}


def an_answer_its_reward_cannot_read(data: Data) -> set[str]:
    return {data.damage("train", "grounding/mirror", 3, answer="<script>alert(1)</script>")}


def a_repeated_puzzle(data: Data) -> set[str]:
    i = data.only("train", "counting/hard")[0]
    data.train.append(replace(data.train[i], sample_id="train-again"))
    return {data.train[i].sample_id, "train-again"}


MARKS = "reward gives the answer full marks"

IN_RANGE = "the edit stays within the parameters of its task"

SAMPLE_FAULTS: Mapping[Callable[[Data], set[str]], tuple[str, str]] = {
    a_repeated_id: ("train", "no sample_id appears twice in a set"),
    an_unknown_variant: ("train", "task and variant are known"),
    a_marker_too_many: ("train", "the question holds one <video> marker for each clip that is rendered"),
    a_number_json_has_not: ("train", "the edit is valid JSON"),
    an_identity_order: ("train", IN_RANGE),
    a_shape_too_large: ("train", IN_RANGE),
    shapes_on_top_of_each_other: ("train", IN_RANGE),
    an_interval_beyond_the_clip: ("train", IN_RANGE),
    an_edit_without_its_keys: ("train", IN_RANGE),
    frames_that_are_not_stored: ("train", IN_RANGE),
    a_video_without_frames: ("train", "every video the sample uses is in the frame store"),
    a_video_of_the_other_split: ("viubench", "every video the sample uses, donors included, is a bench video"),
    a_donor_of_the_other_split: ("viubench", "every video the sample uses, donors included, is a bench video"),
    a_wrong_answer: ("train", "the answer is what follows from the edit and the clock"),
    an_answer_its_reward_cannot_read: ("train", f"the {MARKS}"),
    a_repeated_puzzle: ("train", "no puzzle is given twice"),
}


@pytest.fixture(scope="module")
def damaged() -> tuple[GateResult, dict[Callable[[Data], set[str]], set[str]]]:
    """All faults of samples at once, each in rows of its own, and the rows of each."""
    data = sound_data()
    data.manifest.append(video(100))  # a training video that is not in the store
    planted = {fault: fault(data) for fault in SAMPLE_FAULTS}
    return data.validate(), planted


def test_a_video_that_could_not_be_stored_counts_once_among_the_files() -> None:
    data = sound_data()
    data.manifest.append(video(14))
    data.quarantine.append(RejectedFile("14.mp4", "corrupt"))
    assert data.validate().failures == ()
    assert data.validate(replace(PARAMS, max_quarantined=2 / 14)).success
    assert not data.validate(replace(PARAMS, max_quarantined=1.9 / 14)).success


def test_sound_data_passes_without_a_warning(sound: GateResult) -> None:
    assert sound.success and not sound.failures and not sound.warnings
    assert len(sound.checks) > 50 and all(check.success for check in sound.checks)


@pytest.mark.parametrize("fault", SAMPLE_FAULTS, ids=lambda fault: fault.__name__)
def test_the_rows_of_a_planted_fault_are_named_by_its_rule(fault: Any, damaged: Any) -> None:
    result, planted = damaged
    assert not result.success
    assert planted[fault] <= named(result.failures)[SAMPLE_FAULTS[fault]]


def test_no_row_without_a_fault_is_named(damaged: Any) -> None:
    result, planted = damaged
    of_samples = {key: rows for key, rows in named(result.failures).items() if key[0] in ("train", "viubench")}
    for key, rows in of_samples.items():
        assert rows <= set().union(*planted.values()), key
    # A damaged edit or answer also breaks these two; every other rule names the rows of its own faults alone.
    shared = {("train", f"the {rule}") for rule in ("answer is what follows from the edit and the clock", MARKS)}
    for rule in set(SAMPLE_FAULTS.values()) - shared:
        wanted = set().union(*(rows for fault, rows in planted.items() if SAMPLE_FAULTS[fault] == rule))
        assert of_samples[rule] == wanted, rule


def test_a_video_that_serves_both_sets_is_named_whether_as_source_or_as_donor(damaged: Any) -> None:
    rule = ("store", "no video serves both training and benchmark, as donor too")
    assert named(damaged[0].failures)[rule] == {video(1).video_id, video(2).video_id}


def test_faults_of_the_source_of_the_store_and_of_the_columns_are_told_apart() -> None:
    data = sound_data()
    one, two, three, four, five = (video(number).video_id for number in (1, 2, 4, 5, 7))
    data.manifest.append(replace(data.manifest[1]))
    data.manifest[2] = replace(data.manifest[2], fps=math.nan)
    data.manifest[4] = replace(data.manifest[4], duration_seconds=5.0)
    data.manifest[5] = replace(data.manifest[5], split="test")  # type: ignore[arg-type]
    data.manifest.append(video(300))
    data.quarantine += [RejectedFile("4.mp4", "corrupt"), RejectedFile("x.mp4", "fell_asleep")]
    data.store = MisfitStore(data.store)
    data.store[video(200).video_id] = data.store[one]
    data.store.clocks[five] = (0.0, *data.store.clocks[five][:-1])
    data.store.clocks[two] = data.store.clocks[two][:40]
    data.viubench = [sample for sample in data.viubench if (sample.task, sample.variant) != ("jigsaw", "8")]
    result = data.validate()
    found = named(result.failures)
    assert [one.detail for one in result.failures if one.table == "viubench"] == ["missing: jigsaw/8"]
    assert found["manifest", "no video appears twice"] == {one}
    assert found["manifest", "fps is a positive number"] == {two}
    assert found["manifest", "every video is either for training or for the benchmark"] == {four}
    assert found["quarantine", "no file is both rejected and stored"] == {"4.mp4"}
    assert found["manifest", "every video is stored, or quarantined with a reason"] == {video(300).video_id}
    assert found["quarantine", "every rejection has one of the known reasons"] == {"x.mp4"}
    assert found["store", "no frame is shown after the video ends (two frames of tolerance)"] == {three}
    assert found["store", "every stored video is in the manifest"] == {video(200).video_id}
    assert found["store", "presentation times increase"] == {five}
    assert found["store", "every video is stored with as many frames"] == {two}


class MisfitStore(MemoryStore):
    """A store whose index tells other times than its clips, as a damaged file would."""

    def __init__(self, clips: Mapping[str, Clip]) -> None:
        super().__init__(clips)
        self.clocks = {one.video_id: one.times for one in MemoryStore(clips).frame_times()}

    def frame_times(self) -> list[FrameTimes]:
        return [replace(one, times=self.clocks.get(one.video_id, one.times)) for one in super().frame_times()]


def test_no_data_at_all_fails_instead_of_raising() -> None:
    result = Data([], [], MemoryStore(), [], []).validate()
    found = named(result.failures)
    assert ("manifest", "the source holds at least 2 usable videos") in found
    assert ("train", "the set is not empty") in found and ("viubench", "the set is not empty") in found


def test_the_same_seed_gives_the_same_result(sound: GateResult) -> None:
    assert sound_data().validate().to_json() == sound.to_json()


def test_the_report_is_whole_offline_and_names_rows_as_text(tmp_path: Path, damaged: Any) -> None:
    hostile = GateFailure("quarantine", "a rule", ("<script>alert(1)</script>.mp4",), "1 of 1 rows")
    result = replace(damaged[0], failures=(*damaged[0].failures, hostile))
    write_gate(result, tmp_path)
    write_gate(result, tmp_path)  # a second run replaces the first
    page = (tmp_path / "gate.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script", page)
    told = json.loads((tmp_path / "gate.json").read_text(encoding="utf-8"))
    assert told["success"] is False and len(told["failures"]) == len(result.failures)
    for failure in result.failures:
        assert failure.expectation.replace("<", "&lt;").replace(">", "&gt;") in page
    docs = [path.read_text(encoding="utf-8") for path in (tmp_path / "data_docs").rglob("*.html")]
    assert any("&lt;script&gt;alert(1)" in doc for doc in docs) and not any("<script>alert(1)" in doc for doc in docs)
    assert {path.name for path in tmp_path.iterdir()} == {"gate.json", "gate.html", "data_docs"}


def test_the_summary_is_one_sentence_with_the_first_rows(damaged: Any) -> None:
    summary = damaged[0].summary()
    assert "\n" not in summary and "the data is not fit to train on" in summary
    assert damaged[0].failures[0].rows[0] in summary


@pytest.mark.parametrize(
    ("field", "value"),
    [("min_videos", 1), ("min_perceptible", 1.5), ("max_imbalance", 0.5), ("perceptible_difference", 0.0)],
)
def test_a_threshold_out_of_its_range_is_told_in_one_sentence(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be .*got {value}"):
        ValidateParams(**{field: value})  # type: ignore[arg-type]
