"""The gate names the rows of every fault in the data, and no others."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import open_browser
from tests.support.gate_data import PARAMS, GateData, MemoryStore, rows_by_rule, valid_data, video
from tests.support.windows import window_of
from videossr.clip import Clip
from videossr.errors import ConfigError
from videossr.gates import GateFailure, GateResult, ValidateParams, write_gate
from videossr.records import FrameTimes, RejectedFile, Sample, source_of


@pytest.fixture(scope="module")
def valid() -> GateResult:
    return valid_data().validate()


# Each of the functions below plants one fault in the data and returns the names of the faulty rows.
Fault = Callable[[GateData], set[str]]


def a_repeated_id(data: GateData) -> set[str]:
    first = data.train[data.indices("train", "jigsaw/6")[0]].sample_id
    return {data.damage("train", "jigsaw/6", 1, sample_id=first)}


def an_unknown_variant(data: GateData) -> set[str]:
    return {data.damage("train", "jigsaw/6", 2, variant="7")}


def a_marker_too_many(data: GateData) -> set[str]:
    return {data.damage("train", "jigsaw/6", 3, question="<video>" * 7)}


def a_number_that_json_lacks(data: GateData) -> set[str]:
    return {data.damage("train", "jigsaw/6", 4, edit={**data.edit("train", "jigsaw/6", 4), "weight": math.nan})}


def an_identity_order(data: GateData) -> set[str]:
    edit = {**data.edit("train", "jigsaw/6", 5), "order": list(range(6))}
    return {data.damage("train", "jigsaw/6", 5, edit=edit, answer="123456")}


def a_shape_too_large(data: GateData) -> set[str]:
    edit = data.edit("train", "counting/easy", 0)
    edit["shapes"][0]["size"] = 0.9
    return {data.damage("train", "counting/easy", 0, edit=edit)}


def shapes_on_top_of_each_other(data: GateData) -> set[str]:
    edit = data.edit("train", "counting/easy", 1)
    edit["shapes"].append(dict(edit["shapes"][0]))
    kind = edit["shapes"][0]["kind"]
    kinds = Counter(shape["kind"] for shape in edit["shapes"])
    assert kinds[kind] > 1
    answer = ",".join(str(kinds[name]) for name in ("circle", "square", "triangle"))
    return {data.damage("train", "counting/easy", 1, edit=edit, answer=answer)}


def an_interval_beyond_the_clip(data: GateData) -> set[str]:
    edit = {**data.edit("train", "grounding/mirror", 0), "start": 14}
    return {data.damage("train", "grounding/mirror", 0, edit=edit, answer="")}


def an_edit_without_its_keys(data: GateData) -> set[str]:
    return {data.damage("train", "grounding/mirror", 1, edit={})}


def frames_that_are_not_stored(data: GateData) -> set[str]:
    edit = {**data.edit("train", "grounding/fast", 0), "offset": 40}
    return {data.damage("train", "grounding/fast", 0, edit=edit)}


def a_video_without_frames(data: GateData) -> set[str]:
    return {data.damage("train", "jigsaw/8", 0, video_id=video(100).video_id)}


def a_video_of_the_other_split(data: GateData) -> set[str]:
    return {data.damage("viubench", "counting/hard", 0, video_id=video(1).video_id)}


def a_donor_of_the_other_split(data: GateData) -> set[str]:
    edit = data.edit("viubench", "grounding/swap", 0)
    edit["params"]["donor"] = video(2).video_id
    return {data.damage("viubench", "grounding/swap", 0, edit=edit)}


def a_wrong_answer(data: GateData) -> set[str]:
    return {data.damage("train", "grounding/mirror", 2, answer="0.0-9.9")}


def an_answer_that_the_reward_cannot_parse(data: GateData) -> set[str]:
    return {data.damage("train", "grounding/mirror", 3, answer="<script>alert(1)</script>")}


def a_duplicate(data: GateData) -> set[str]:
    i = data.indices("train", "counting/hard")[0]
    data.train.append(replace(data.train[i], sample_id="train-again"))
    return {data.train[i].sample_id, "train-again"}


SCORES_ONE = "the reward of the task gives the answer 1"

DERIVED = "the answer equals the one derived from the edit and the frame times"

IN_RANGE = "the edit is within the parameters of its task"

# The table and the rule that must name the rows of each fault.
SAMPLE_FAULTS: Mapping[Fault, tuple[str, str]] = {
    a_repeated_id: ("train", "no sample_id appears twice in a set"),
    an_unknown_variant: ("train", "task and variant are known"),
    a_marker_too_many: ("train", "the question has one <video> marker for each rendered clip"),
    a_number_that_json_lacks: ("train", "the edit is valid JSON"),
    an_identity_order: ("train", IN_RANGE),
    a_shape_too_large: ("train", IN_RANGE),
    shapes_on_top_of_each_other: ("train", IN_RANGE),
    an_interval_beyond_the_clip: ("train", IN_RANGE),
    an_edit_without_its_keys: ("train", IN_RANGE),
    frames_that_are_not_stored: ("train", IN_RANGE),
    a_video_without_frames: ("train", "every video the sample uses is in the frame store"),
    a_video_of_the_other_split: ("viubench", "every video the sample uses, donors included, is a bench video"),
    a_donor_of_the_other_split: ("viubench", "every video the sample uses, donors included, is a bench video"),
    a_wrong_answer: ("train", DERIVED),
    an_answer_that_the_reward_cannot_parse: ("train", SCORES_ONE),
    a_duplicate: ("train", "no two samples have the same video and edit"),
}


@pytest.fixture(scope="module")
def damaged() -> tuple[GateResult, dict[Fault, set[str]]]:
    """The result with all faults of samples at once, each in its own rows, and the rows of each fault."""
    data = valid_data()
    data.manifest.append(video(100))  # a training video that is not in the store
    planted = {fault: fault(data) for fault in SAMPLE_FAULTS}
    return data.validate(), planted


def test_a_video_in_manifest_and_quarantine_counts_as_one_file() -> None:
    data = valid_data()
    data.manifest.append(video(14))
    data.quarantine.append(RejectedFile("14.mp4", "corrupt"))
    assert data.validate().failures == ()
    assert data.validate(replace(PARAMS, max_quarantined=2 / 14)).success
    assert not data.validate(replace(PARAMS, max_quarantined=1.9 / 14)).success


def test_valid_data_passes_without_a_warning(valid: GateResult) -> None:
    assert valid.success and not valid.failures and not valid.warnings
    assert len(valid.checks) > 50 and all(check.success for check in valid.checks)


@pytest.mark.parametrize("fault", SAMPLE_FAULTS, ids=lambda fault: fault.__name__)
def test_the_rule_of_a_fault_names_its_rows(fault: Any, damaged: Any) -> None:
    result, planted = damaged
    assert not result.success
    assert planted[fault] <= rows_by_rule(result.failures)[SAMPLE_FAULTS[fault]]


def test_no_rule_names_a_row_without_a_fault(damaged: Any) -> None:
    result, planted = damaged
    of_samples = {key: rows for key, rows in rows_by_rule(result.failures).items() if key[0] in ("train", "viubench")}
    for key, rows in of_samples.items():
        assert rows <= set().union(*planted.values()), key
    # A damaged edit or answer also fails these two rules; every other rule names only the rows of its own faults.
    shared = {("train", DERIVED), ("train", SCORES_ONE)}
    for rule in set(SAMPLE_FAULTS.values()) - shared:
        expected = set().union(*(rows for fault, rows in planted.items() if SAMPLE_FAULTS[fault] == rule))
        assert of_samples[rule] == expected, rule


def test_a_video_used_in_both_sets_is_named_also_where_it_is_a_donor(damaged: Any) -> None:
    rule = ("store", "no video is used in both sets, donors included")
    assert rows_by_rule(damaged[0].failures)[rule] == {video(1).video_id, video(2).video_id}


def test_each_fault_of_manifest_quarantine_and_store_is_named_by_its_own_rule() -> None:
    data = valid_data()
    one, two, three, four, five = (video(number).video_id for number in (1, 2, 4, 5, 7))
    data.manifest.append(replace(data.manifest[1]))
    data.manifest[2] = replace(data.manifest[2], fps=math.nan)
    data.manifest[4] = replace(data.manifest[4], duration_seconds=5.0)
    data.manifest[5] = replace(data.manifest[5], split="test")  # type: ignore[arg-type]
    data.manifest.append(video(300))
    data.quarantine += [RejectedFile("4.mp4", "corrupt"), RejectedFile("x.mp4", "unknown_reason")]
    data.store = DamagedStore(data.store)
    data.store[video(200).video_id] = data.store[one]
    data.store.index[five] = (0.0, *data.store.index[five][:-1])
    data.store.index[two] = data.store.index[two][:40]
    data.viubench = [sample for sample in data.viubench if (sample.task, sample.variant) != ("jigsaw", "8")]
    result = data.validate()
    found = rows_by_rule(result.failures)
    assert [failure.detail for failure in result.failures if failure.table == "viubench"] == ["missing: jigsaw/8"]
    assert found["manifest", "no video appears twice"] == {one}
    assert found["manifest", "fps is a positive number"] == {two}
    assert found["manifest", "every video has the split train or bench"] == {four}
    assert found["quarantine", "no file is both rejected and stored"] == {"4.mp4"}
    assert found["manifest", "every video is stored or in the quarantine"] == {video(300).video_id}
    assert found["quarantine", "every rejected file has a known reason"] == {"x.mp4"}
    assert found["store", "no frame is shown after the video ends (tolerance: two frames)"] == {three}
    assert found["store", "every stored video is in the manifest"] == {video(200).video_id}
    assert found["store", "presentation times increase"] == {five}
    assert found["store", "all videos have the same number of stored frames"] == {two}


class DamagedStore(MemoryStore):
    """A store whose index has other frame times than its clips, as a damaged file would."""

    def __init__(self, clips: Mapping[str, Clip]) -> None:
        super().__init__(clips)
        self.index = {stored.video_id: stored.times for stored in MemoryStore(clips).frame_times()}

    def frame_times(self) -> list[FrameTimes]:
        return [
            replace(stored, times=self.index.get(stored.video_id, stored.times)) for stored in super().frame_times()
        ]


def test_empty_data_fails_the_gate_without_an_error() -> None:
    result = GateData([], [], MemoryStore(), [], []).validate()
    found = rows_by_rule(result.failures)
    assert ("manifest", "the source has at least 2 usable videos") in found
    assert ("train", "the set is not empty") in found and ("viubench", "the set is not empty") in found


def test_the_same_seed_gives_the_same_result(valid: GateResult) -> None:
    assert valid_data().validate().to_json() == valid.to_json()


def test_the_report_needs_no_network_and_escapes_the_names_of_rows(tmp_path: Path, damaged: Any) -> None:
    hostile = GateFailure("quarantine", "a rule", ("<script>alert(1)</script>.mp4",), "1 of 1 rows")
    result = replace(damaged[0], failures=(*damaged[0].failures, hostile))
    write_gate(result, tmp_path)
    write_gate(result, tmp_path)  # a second run replaces the first
    page = (tmp_path / "gate.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script|<link|src=.(?!data:)|url\(|href=", page), (
        "it needs no other file and no network"
    )
    assert "&lt;script&gt;alert(1)" in page
    written = json.loads((tmp_path / "gate.json").read_text(encoding="utf-8"))
    assert written["success"] is False and len(written["failures"]) == len(result.failures)
    for failure in result.failures:
        assert failure.expectation.replace("<", "&lt;").replace(">", "&gt;") in page
    assert {path.name for path in tmp_path.iterdir()} == {"gate.json", "gate.html"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_on_the_page_is_cut_off_or_hard_to_read(tmp_path: Path, damaged: Any, scheme: str) -> None:
    long = GateFailure("renders", "a rule", (f"{'a' * 120} <b>.mp4",), "1 of 1 rows")
    write_gate(replace(damaged[0], warnings=(*damaged[0].warnings, long)), tmp_path)
    with open_browser(tmp_path / "profile") as page:
        page.use_scheme(scheme)
        for width in (390, 1280):
            page.resize(width, 800)
            page.open(tmp_path / "gate.html")
            assert page.cut_off() == [] and page.low_contrast() == [] and page.messages == []
        assert page.scrolled() == []


def test_the_summary_is_one_sentence_with_the_first_rows(damaged: Any) -> None:
    summary = damaged[0].summary()
    assert "\n" not in summary and "the data is not fit to train on" in summary
    assert damaged[0].failures[0].rows[0] in summary


@pytest.mark.parametrize(
    ("field", "value"),
    [("min_videos", 1), ("min_perceptible", 1.5), ("max_imbalance", 0.5), ("perceptible_difference", 0.0)],
)
def test_a_threshold_out_of_range_raises_an_error_with_rule_and_value(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be .*got {value}"):
        ValidateParams(**{field: value})  # type: ignore[arg-type]


def with_windows(data: GateData) -> GateData:
    """The same data, whose videos are windows: two of each source, both in its split."""
    ids = {one.video_id: window_of(int(one.video_id, 16) % 6, int(one.video_id, 16) // 6) for one in data.manifest}
    rename = partial(re.sub, "|".join(ids), lambda match: ids[match[0]])

    def renamed(sample: Sample) -> Sample:
        edit = json.loads(rename(json.dumps(sample.edit)))
        return replace(sample, video_id=ids[sample.video_id], edit=edit)

    return replace(
        data,
        manifest=[replace(one, video_id=ids[one.video_id]) for one in data.manifest],
        store=MemoryStore({ids[name]: clip for name, clip in data.store.items()}),
        train=[renamed(sample) for sample in data.train],
        viubench=[renamed(sample) for sample in data.viubench],
    )


def test_windows_of_a_source_in_both_splits_are_named() -> None:
    data = with_windows(valid_data())
    rule = ("manifest", "all windows of a source video have the same split")
    assert rule not in rows_by_rule(data.validate().failures)
    moved = next(i for i, one in enumerate(data.manifest) if one.split == "train")
    data.manifest[moved] = replace(data.manifest[moved], split="bench")
    source = source_of(data.manifest[moved].video_id)
    expected = {one.video_id for one in data.manifest if source_of(one.video_id) == source}
    assert rows_by_rule(data.validate().failures)[rule] == expected
    assert len(expected) == 2


def test_a_window_of_the_same_source_is_no_donor() -> None:
    data = with_windows(valid_data())
    own = {
        sample.sample_id
        for sample in data.train
        if sample.variant == "swap" and source_of(sample.edit["params"]["donor"]) == source_of(sample.video_id)
    }
    assert own  # they were drawn before the videos became windows
    assert rows_by_rule(data.validate().failures)["train", IN_RANGE] == own


def test_a_rejected_window_is_in_the_quarantine_and_the_others_of_its_file_are_stored() -> None:
    data = with_windows(valid_data())
    data.manifest = [replace(one, path=f"{source_of(one.video_id)}.mp4") for one in data.manifest]
    unused = replace(data.manifest[1], video_id=window_of(1, 9))
    data.manifest.append(unused)
    data.quarantine.append(RejectedFile(unused.name, "corrupt"))
    tables = {table for table, _ in rows_by_rule(data.validate().failures)}
    assert not {"manifest", "quarantine", "store"} & tables
