"""The published files of eight benchmarks, where they lie beside the project: counts and known faults."""

from collections import Counter
from pathlib import Path

import pytest

from tests.support import SHARED
from videossr.errors import BenchmarkError
from videossr.evaluation import BENCHMARKS, load
from videossr.evaluation.benchmarks import Items, chance, score

FILES = SHARED / "benchmarks"
pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason="needs the published annotations beside the project")

# Key, layout, folder, questions, faults that are met by rule.
SETS = [
    ("mvbench", "copy", "mvbench", 4000, {"one_option": 5}),
    ("tempcompass", None, "tempcompass", 5536, {"same_question": 1}),
    ("qvhighlights", None, "qvhighlights", 1550, {}),
    ("activitynet", None, "activitynet_captions", 17031, {"window_beyond_duration": 1}),
    ("activitynet", "val_1", "activitynet_captions", 17505, {"window_beyond_duration": 5}),
    ("charadessta", None, "charades_sta", 3720, {"window_beyond_duration": 562}),
    ("tacos", None, "tacos", 4001, {"window_beyond_duration": 5, "same_question": 572}),
    ("videommmu", None, "videommmu", 880, {"answer_text_twice": 5}),
    ("cvbench", None, "cvbench", 1000, {"options_in_one_string": 1, "labels_out_of_order": 1}),
]


def load_set(key: str, layout: str | None, folder: str) -> Items:
    return load(key, FILES / folder, layout=layout)


@pytest.mark.parametrize(("key", "layout", "folder", "count", "faults"), SETS)
def test_a_published_file_has_its_questions_and_its_known_faults_alone(
    key: str, layout: str | None, folder: str, count: int, faults: dict[str, int]
):
    items = load_set(key, layout, folder)
    assert len(items) == count
    assert Counter(fault.rule for fault in items.faults) == faults


@pytest.mark.parametrize(("key", "layout", "folder", "count", "faults"), SETS)
def test_the_right_answers_of_a_published_file_score_100_percent(
    key: str, layout: str | None, folder: str, count: int, faults: dict[str, int]
):
    items = load_set(key, layout, folder)
    result = score(items, {item.id: item.answer.split(";")[0] for item in items}, num_resamples=10)
    assert result.number.mean == pytest.approx(100, abs=0.01)
    assert result.counts.parsed == count


@pytest.mark.parametrize(("key", "layout", "folder", "count", "faults"), SETS)
def test_every_listed_fault_is_still_in_the_published_file(
    key: str, layout: str | None, folder: str, count: int, faults: dict[str, int]
):
    found = {item.item_id for item in load_set(key, layout, folder).faults}
    listed = {item_id for fault in BENCHMARKS[key].known_faults for item_id in fault.ids}
    assert listed <= found or key == "activitynet"  # whose list is of two splits


def test_the_lists_of_activitynet_are_those_of_its_two_splits():
    faults = [load_set("activitynet", layout, "activitynet_captions").faults for layout in ("val_1", "val_2")]
    assert {fault.item_id for split in faults for fault in split} == set(BENCHMARKS["activitynet"].known_faults[0].ids)


def test_the_single_options_of_mvbench_are_counterfactual():
    faults = load_set("mvbench", "copy", "mvbench").faults
    assert [fault.item_id.split("/")[1] for fault in faults] == ["81", "98", "111", "137", "162"]
    assert {fault.item_id.split("/")[0] for fault in faults} == {"counterfactual_inference"}


def test_the_largest_overrun_of_charades_is_the_listed_one():
    assert max(fault.amount for fault in load_set("charadessta", None, "charades_sta").faults) == 1.5


def test_a_third_of_qvhighlights_has_several_windows():
    assert sum(len(item.windows) > 1 for item in load_set("qvhighlights", None, "qvhighlights")) == 530


def test_cvbench_has_questions_of_two_to_four_videos_and_136_of_yes_and_no():
    items = load_set("cvbench", None, "cvbench")
    assert Counter(len(item.videos) for item in items) == {2: 487, 3: 236, 4: 277}
    assert sum(item.kind == "yes_no" for item in items) == 136
    faulty = {item.id: item for item in items}
    assert [len(faulty[item_id].labels) for item_id in ("996", "431", "977")] == [4, 4, 4]


def test_option_lines_of_tempcompass_that_break_the_pattern_are_read():
    items = {item.id: item for item in load_set("tempcompass", None, "tempcompass")}
    assert items["multi-choice/1100319395_reverse/direction/2"].options[3] == "away from the screen"
    assert len(items["multi-choice/1022115337/order/1"].labels) == 3


def test_the_chance_of_each_published_choice():
    chances = {key: chance(load_set(key, layout, folder)) for key, layout, folder, *_ in SETS}
    rounded = {key: round(chances[key]["accuracy"], 1) for key in ("mvbench", "tempcompass", "videommmu", "cvbench")}
    assert rounded == {"mvbench": 28.3, "tempcompass": 44.2, "videommmu": 11.6, "cvbench": 28.5}


def test_the_question_that_leaks_is_the_first_of_charades():
    item = load_set("charadessta", None, "charades_sta")[0]
    assert (item.question, item.windows) == ("person turn a light on.", ((24.3, 30.4),))


@pytest.mark.parametrize(
    ("key", "folder"), [("activitynet", "tacos"), ("tacos", "activitynet_captions"), ("cvbench", "mvbench")]
)
def test_the_folder_of_another_benchmark_is_refused(key: str, folder: str):
    with pytest.raises(BenchmarkError, match="another benchmark or version|not found"):
        load(key, FILES / folder)


def test_the_other_split_under_the_name_of_this_one_is_refused(tmp_path: Path):
    (tmp_path / "test.json.gz").write_bytes((FILES / "activitynet_captions/val.json.gz").read_bytes())
    with pytest.raises(BenchmarkError, match="must hold 17031 questions, got 17505"):
        load("activitynet", tmp_path)


def test_an_excerpt_of_cgbench_is_read():
    folder = SHARED / "annotations"
    if not folder.is_dir():
        pytest.skip("needs the excerpts beside the project")
    assert load("cgbench", folder, counts=False)[0].answer == "E"
