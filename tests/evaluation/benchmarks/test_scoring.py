"""The arithmetic of scores, by hand."""

from pathlib import Path

import pytest

from tests.support.benchmark_records import write_document, write_made_records
from videossr.evaluation import BENCHMARKS, load
from videossr.evaluation.benchmarks import Item, Items, VideoRef, chance, item_scores, score
from videossr.evaluation.intervals import MIN_VIDEOS


def items_of(key: str, items: list[Item]) -> Items:
    layout = next(iter(BENCHMARKS[key].layouts))
    return Items(BENCHMARKS[key], layout, tuple(items))


def choices(count: int, **fields: object) -> list[Item]:
    """Questions 0, 1, .. on a video each, with answer A of A, B."""
    return [
        Item(str(n), (VideoRef(f"{n}.mp4"),), "?", "A", ("A", "B"), ("x", "y"), cluster=str(n), **fields)
        for n in range(count)
    ]


def test_every_question_is_in_the_denominator_whatever_became_of_it():
    items = items_of("cgbench", choices(6))
    result = score(items, {"0": "A", "1": "B", "2": "I do not know", "3": None, "4": "  "})
    counts = result.counts
    assert (counts.questions, counts.missing, counts.asked, counts.failed) == (6, 1, 5, 1)
    assert (counts.answered, counts.parsed, counts.coverage) == (3, 2, pytest.approx(100 / 3))
    assert result.number.mean == pytest.approx(100 / 6)
    assert result.parsed_means == {"accuracy": 50}


def test_a_reply_to_no_item_is_our_mistake():
    with pytest.raises(ValueError, match="replies must belong to the items, got 1 items and replies to .'7'."):
        score(items_of("cgbench", choices(1)), {"7": "A"})


def test_no_items_have_no_score():
    with pytest.raises(ValueError, match="got 0 items"):
        score(items_of("cgbench", []), {})


def test_groups_have_their_own_means_and_a_question_may_be_in_several():
    groups = [("a",), ("a", "b"), ("b",)]
    items = [Item(**{**vars(item), "groups": {"type": group}}) for item, group in zip(choices(3), groups, strict=True)]
    result = score(items_of("lvbench", items), {"0": "A", "1": "A", "2": "B"})
    means = {value: columns["accuracy"] for value, columns in result.groups["type"].items()}
    assert {value: (column.mean, column.units) for value, column in means.items()} == {"a": (100, 2), "b": (50, 2)}


def test_intervals_treat_a_video_with_its_questions_as_one_observation():
    alone = [Item(**{**vars(item), "cluster": str(place)}) for place, item in enumerate(choices(60))]
    shared = [Item(**{**vars(item), "cluster": str(place // 6)}) for place, item in enumerate(choices(60))]
    replies = {str(n): "A" if n < 30 else "B" for n in range(60)}
    narrow, wide = (score(items_of("cgbench", items), replies).number for items in (alone, shared))
    assert (narrow.mean, narrow.videos, wide.mean, wide.videos) == (50, 60, 50, 10)
    assert wide.high - wide.low > 1.8 * (narrow.high - narrow.low)
    assert wide.low < 50 < wide.high


def test_too_few_videos_have_the_whole_range_as_interval():
    items = choices(MIN_VIDEOS - 1)
    result = score(items_of("cgbench", items), {item.id: "A" for item in items})
    assert (result.number.low, result.number.high) == (0, 100)


def test_a_small_group_of_a_large_benchmark_has_the_whole_range_too():
    items = [Item(**{**vars(item), "groups": {"g": ("rare" if item.id == "0" else "common",)}}) for item in choices(20)]
    result = score(items_of("cgbench", items), {item.id: "A" for item in items})
    assert (result.groups["g"]["rare"]["accuracy"].low, result.groups["g"]["common"]["accuracy"].low) == (0, 100)


def grounding(*windows: tuple[float, float], duration: float | None = 100) -> Items:
    return items_of("qvhighlights", [Item("0", (VideoRef("v"),), "?", "-", windows=windows, duration_seconds=duration)])


def test_grounding_takes_the_best_window_and_shows_the_first_beside_it():
    result = score(grounding((0, 10), (40, 60)), {"0": "45 - 65"})
    means = {name: column.mean for name, column in result.columns.items()}
    assert means["mIoU"] == pytest.approx(100 * 15 / 25)
    assert (means["R1@0.3"], means["R1@0.5"], means["R1@0.7"]) == (100, 100, 0)
    assert (means["first mIoU"], means["first R1@0.3"]) == (0, 0)


def test_an_iou_at_the_threshold_counts():
    columns = score(grounding((0, 10)), {"0": "0 - 5"}).columns
    assert (columns["R1@0.5"].mean, columns["R1@0.7"].mean) == (100, 0)


def test_an_interval_that_cannot_be_read_scores_zero_and_stays():
    result = score(grounding((0, 10)), {"0": "never"})
    assert (result.number.mean, result.counts.parsed, result.parsed_means) == (0, 0, {})


def test_the_chance_of_grounding_is_the_whole_video_where_its_length_is_known():
    assert chance(grounding((0, 10), (40, 90)))["mIoU"] == pytest.approx(50)
    assert chance(grounding((0, 10), duration=None)) == {}


def vinoground(folder: Path) -> Items:
    """Two complete pairs: the right answer of every `pos` item is A, of every `neg` item B."""
    write_made_records("vinoground", folder)
    for name in ("vinoground_textscore.json", "vinoground_videoscore.json"):
        rows = [
            {
                "idx": f"{pair}_{sign}",
                "video_name": f"{pair}_{sign}.mp4",
                "question": f"{name}?\nA. x\nB. y",
                "GT": answer,
            }
            for pair in (0, 1)
            for sign, answer in (("pos", "A"), ("neg", "B"))
        ]
        write_document(folder / name, rows)
    return load("vinoground", folder, counts=False)


def test_vinoground_scores_texts_videos_and_whole_pairs(tmp_path: Path):
    items = vinoground(tmp_path)
    replies = {item.id: item.answer for item in items}
    replies["video/1_neg"] = "A"
    result = score(items, replies)
    means = {name: (column.mean, column.units) for name, column in result.columns.items()}
    assert means == {"text": (100, 2), "video": (50, 2), "group": (50, 2), "accuracy": (87.5, 8)}
    assert result.metric == "text"
    assert result.groups["minor"]["swap"]["group"].mean == 50


def test_a_pair_with_an_unread_reply_is_wrong_and_not_among_the_parsed(tmp_path: Path):
    items = vinoground(tmp_path)
    replies = {item.id: item.answer for item in items} | {"text/0_pos": "?"}
    result = score(items, replies)
    assert (result.columns["text"].mean, result.parsed_means["text"], result.counts.parsed) == (50, 100, 7)


def test_the_chance_of_a_pair_is_the_product_of_its_questions(tmp_path: Path):
    assert chance(vinoground(tmp_path)) == {"accuracy": 50, "text": 25, "video": 25, "group": 6.25}


def test_an_incomplete_pair_has_no_pair_score(tmp_path: Path):
    items = items_of("vinoground", [item for item in vinoground(tmp_path) if item.id != "text/0_neg"])
    assert score(items, {}).columns["text"].units == 1


def test_ordering_has_exact_and_step_accuracy_with_their_chance(tmp_path: Path):
    write_made_records("vcrbench", tmp_path)
    items = load("vcrbench", tmp_path, counts=False)
    assert [item.answer for item in items] == ["1,2,4,3", "3,1,2", "2,1,3,5,4"]
    result = score(items, {"1": "1, 2, 3, 4", "2": "3, 1, 2", "3": "nothing"})
    assert result.columns["exact"].mean == pytest.approx(100 / 3)
    assert result.columns["step"].mean == pytest.approx(100 * (0.5 + 1 + 0) / 3)
    assert result.chance["exact"] == pytest.approx(100 * (1 / 24 + 1 / 6 + 1 / 120) / 3)
    assert result.chance["step"] == pytest.approx(100 * (1 / 4 + 1 / 3 + 1 / 5) / 3)


def test_the_chance_of_a_choice_follows_the_number_of_its_labels():
    items = choices(1) + [Item("x", (VideoRef("v"),), "?", "A", tuple("ABCD"), ("a", "b", "c", "d"))]
    assert chance(items_of("cgbench", items)) == {"accuracy": pytest.approx(37.5)}


def test_item_scores_keep_what_each_reply_said():
    items = items_of("cgbench", choices(3))
    scores = item_scores(items, {"0": "A", "1": "B"})
    assert [(each.parsed, each.values["accuracy"]) for each in scores] == [("A", 1), ("B", 0), (None, 0)]


def test_scoring_is_a_pure_function():
    items = items_of("cgbench", choices(12))
    replies = {item.id: "A" if int(item.id) % 3 else "B" for item in items}
    assert score(items, replies) == score(items, replies)


def test_viubench_is_scored_as_in_training_and_its_chance_is_the_papers_random_guess(tmp_path: Path):
    write_made_records("viubench", tmp_path)
    items = load("viubench", tmp_path, counts=False)
    grounding, counting, jigsaw = items
    result = score(items, {grounding.id: "1.0-2.5", counting.id: "1,3,1", jigsaw.id: "I do not know"})
    assert result.number.mean == pytest.approx(100 * (1.5 / 3 + 2 / 3 + 0) / 3)
    assert (result.counts.answered, result.counts.parsed) == (3, 2)
    assert result.chance == {"score": pytest.approx(100 * (12 / 48 + 1 / 9 + 1 / 720) / 3)}
    assert result.groups["task"]["jigsaw"]["score"].mean == 0
    assert [len(item.videos) for item in items] == [1, 1, 6]
    assert {item.cluster for item in items} == {"0123456789abcdef"}
