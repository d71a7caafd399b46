"""Records of results, and the means of the paper's groups."""

import json
from statistics import mean

import pytest

from tests.support.made_items import choice, items_of
from videossr.evaluation.benchmarks import BENCHMARKS
from videossr.evaluation.downstream.results import GroupMean, group_means, published_numbers, summarise


def test_a_record_is_json_and_a_function_of_its_replies():
    items = items_of("videomme", [choice(str(n), "A", groups={"domain": ("art",)}) for n in range(8)])
    replies = {str(n): "A" if n % 2 else "B" for n in range(8)}
    record = summarise(items, replies)
    assert json.loads(json.dumps(record)) == record == summarise(items, replies)
    column = record["columns"]["accuracy"]
    assert (column["mean"], column["units"], column["videos"]) == (50, 8, 8)
    assert 0 < column["ci95"][0] < 50 < column["ci95"][1] < 100
    assert (record["benchmark"], record["paper_group"], record["metric"]) == ("videomme", "long", "accuracy")


def test_replies_to_other_items_are_our_mistake():
    with pytest.raises(ValueError, match="replies must belong to the items"):
        summarise(items_of("videomme", [choice("1", "A")]), {"2": "A"})


def test_a_mean_says_how_many_benchmarks_of_its_group_it_is_over():
    found = group_means({"mvbench": 60.0, "tempcompass": 70.0, "viubench": 20.0})
    assert found["general"] == GroupMean(65, 2, 4)
    assert found["long"] == GroupMean(None, 0, 4)
    assert found["all"] == GroupMean(50, 3, 17)
    assert list(found) == ["general", "long", "grounding", "reasoning", "all"]


@pytest.mark.parametrize("column", ["base_32", "base_48", "base_64", "videossr_32"])
def test_published_numbers_are_those_of_all_benchmarks(column: str):
    numbers = published_numbers(column)
    assert numbers.keys() == BENCHMARKS.keys()
    assert group_means(numbers)["all"] == GroupMean(pytest.approx(mean(numbers.values())), 17, 17)
    assert numbers["viubench"] == BENCHMARKS["viubench"].published[f"{column.split('_')[0]}_48"]["score"]


def test_the_paper_has_the_trained_model_above_its_base_on_all_benchmarks_at_32_frames():
    base, trained = published_numbers("base_32"), published_numbers("videossr_32")
    assert all(trained[key] > base[key] for key in BENCHMARKS)
