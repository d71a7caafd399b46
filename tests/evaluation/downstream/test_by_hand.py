"""One made set of each family, small enough to score by hand: the arithmetic stands in the comments.

The made benchmarks on disk are scored a second time by the few lines in which lmms-eval does it.
"""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.made_items import choice, items_of
from videossr.evaluation import load
from videossr.evaluation.benchmarks import Item, Items, VideoRef
from videossr.evaluation.downstream.results import summarise


def means(items: Items, replies: dict[str, str | None]) -> dict[str, float]:
    columns = summarise(items, replies, num_resamples=100)["columns"]
    return {metric: column["mean"] for metric, column in columns.items()}


def test_accuracy_of_a_choice():
    items = items_of(
        "videomme",
        [
            choice("1", "A", groups={"duration": ("short",)}),  # "A": right
            choice("2", "B", groups={"duration": ("short",)}),  # "The answer is (C).": wrong
            choice("3", "C", groups={"duration": ("long",)}),  # "blue": the text of option C, right
            choice("4", "D", groups={"duration": ("long",)}),  # "I cannot tell": unanswered, wrong
            choice("5", "A", groups={"duration": ("long",)}),  # the attempt failed, wrong
            choice("6", "A", groups={"duration": ("long",)}),  # the video is missing, wrong
        ],
    )
    replies = {"1": "A", "2": "The answer is (C).", "3": "blue", "4": "I cannot tell", "5": None}
    record = summarise(items, replies, num_resamples=100)
    assert record["columns"]["accuracy"]["mean"] == 33.3333  # 2 of 6
    assert record["parsed_means"] == {"accuracy": 66.6667}  # 2 of the 3 that can be read
    assert record["coverage"] == 50  # 3 of 6
    counts = {"questions": 6, "missing": 1, "asked": 5, "failed": 1, "answered": 4, "parsed": 3}
    assert record["counts"] == counts
    durations = record["groups"]["duration"]
    assert durations["short"]["accuracy"]["mean"] == 50  # 1 of 2
    assert durations["long"]["accuracy"]["mean"] == 25  # 1 of 4
    assert record["chance"] == {"accuracy": 25}  # four options each


def test_mean_iou_and_recall_of_grounding():
    windows = {
        "1": ((10.0, 20.0),),  # 10 - 20: intersection 10, union 10, IoU 1
        "2": ((10.0, 20.0),),  # 15 - 20: 5 / 10 = 0.5, which R1@0.5 counts
        "3": ((0.0, 4.0), (10.0, 20.0)),  # 12 - 22: with the second window 8 / 12 = 2/3; with the first 0
        "4": ((10.0, 20.0),),  # 19 - 29: 1 / 19
        "5": ((10.0, 20.0),),  # no interval: 0
    }
    items = items_of(
        "qvhighlights",
        [
            Item(name, (VideoRef(f"{name}.mp4"),), "a man waves", "-", windows=spans, duration_seconds=40, cluster=name)
            for name, spans in windows.items()
        ],
    )
    replies = {
        "1": "The event happens in 10 - 20 seconds.",
        "2": "15.0 to 20.0",
        "3": "00:12 - 00:22",
        "4": "from 19 to 29",
        "5": "It does not happen.",
    }
    expected = {
        "mIoU": 100 * (1 + 1 / 2 + 2 / 3 + 1 / 19 + 0) / 5,
        "R1@0.3": 60,  # 1, 0.5 and 2/3 of five
        "R1@0.5": 60,
        "R1@0.7": 20,  # 1 alone
        "first mIoU": 100 * (1 + 1 / 2 + 0 + 1 / 19 + 0) / 5,
        "first R1@0.3": 40,
        "first R1@0.5": 40,
        "first R1@0.7": 20,
    }
    assert means(items, replies) == pytest.approx(expected, abs=1e-4)
    # The whole video, 0 - 40 s: 10/40 for each of the five (the longest window of the third is 10 s).
    assert summarise(items, replies)["chance"]["mIoU"] == pytest.approx(25)


def test_text_video_and_group_score_of_vinoground():
    items = items_of(
        "vinoground",
        [
            Item(
                f"{kind}/{pair}_{sign}",
                (VideoRef(f"{pair}.mp4"),),
                "?",
                answer,
                ("A", "B"),
                ("x", "y"),
                pair=str(pair),
                kind=kind,
                cluster=str(pair),
            )
            for pair in range(4)
            for kind in ("text", "video")
            for sign, answer in (("pos", "A"), ("neg", "B"))
        ],
    )
    wrong = {
        "text/1_neg",  # pair 1: text wrong, video right, so the group is wrong
        "video/2_pos",  # pair 2: text right, video wrong, so the group is wrong
        "text/3_pos",  # pair 3: both wrong
        "video/3_neg",
    }
    other = {"A": "B", "B": "A"}
    replies = {item.id: other[item.answer] if item.id in wrong else item.answer for item in items}
    # Text: pairs 0 and 2 of 4. Video: pairs 0 and 1. Group: pair 0. Accuracy: 16 questions, 4 wrong.
    assert means(items, replies) == {"text": 50, "video": 50, "group": 25, "accuracy": 75}


def test_exact_and_step_accuracy_of_an_ordering():
    orders = {
        "1": "2,1,3",  # 2, 1, 3: exact, 3 of 3 clips in place
        "2": "3,1,2",  # 3, 2, 1: 1 of 3
        "3": "1,2,3,4",  # 2, 1, 3, 4: 2 of 4
        "4": "1,2,3,4",  # 1, 1, 2, 3 is no permutation: 0 of 4
    }
    items = items_of(
        "vcrbench",
        [Item(name, (VideoRef(f"{name}.mp4"),), "make tea", answer, cluster=name) for name, answer in orders.items()],
    )
    replies = {
        "1": "Correct order: 2, 1, 3",
        "2": "Clip 3, Clip 2, Clip 1",
        "3": "2, 1, 3, 4",
        "4": "1, 1, 2, 3",
    }
    # Exact: 1 of 4. Step: the mean of 3/3, 1/3, 2/4 and 0/4.
    assert means(items, replies) == pytest.approx({"exact": 25, "step": 100 * (1 + 1 / 3 + 1 / 2) / 4}, abs=1e-4)


def letters(rng: np.random.Generator, number: int) -> list[str]:
    """Replies in forms that every harness reads alike: a letter, with a full stop or without."""
    return [str(rng.choice(list("ABCD"))) + str(rng.choice(["", "."])) for _ in range(number)]


def test_accuracy_on_the_made_videomme_is_that_of_the_first_letter(made: Path):
    rows = pd.read_parquet(made / "videomme/videomme/test-00000-of-00001.parquet").to_dict("records")
    replies = letters(np.random.default_rng(0), len(rows))
    right = [reply[0] == row["answer"] for reply, row in zip(replies, rows, strict=True)]
    assert 0 < sum(right) < len(rows)
    items = load("videomme", made / "videomme", counts=False)
    given: dict[str, str | None] = {row["question_id"]: reply for row, reply in zip(rows, replies, strict=True)}
    assert means(items, given)["accuracy"] == pytest.approx(100 * sum(right) / len(rows), abs=1e-4)


def test_accuracy_on_the_made_cvbench_is_that_of_an_exact_match(made: Path):
    rows = json.loads((made / "cvbench/CVBench.json").read_text())
    guesses = [["A", "B", "C", "D", "A", "B"], ["Yes", "No", "Yes", "No", "Yes", "No"]]
    replies = [guesses["Yes." in row["options"]][place] for place, row in enumerate(rows)]
    right = [reply.lower() == row["answer"].lower() for reply, row in zip(replies, rows, strict=True)]
    items = load("cvbench", made / "cvbench", counts=False)
    given: dict[str, str | None] = {str(row["id"]): reply for row, reply in zip(rows, replies, strict=True)}
    assert means(items, given)["accuracy"] == pytest.approx(100 * sum(right) / len(rows), abs=1e-4)


def test_scores_on_the_made_charades_are_those_of_the_lines_of_lmms_eval(made: Path):
    lines = (made / "charadessta/charades_sta_test.txt").read_text().splitlines()
    spans = [tuple(map(float, line.partition("##")[0].split()[1:])) for line in lines]
    rng, ious, replies = np.random.default_rng(1), [], []
    for start, end in spans:
        shown, stop = sorted(round(float(x), 1) for x in (start + rng.normal(0, 0.4), end + rng.normal(0, 0.4)))
        replies.append(f"The event happens in {abs(shown):.1f} - {stop + 0.1:.1f} seconds.")
        first, last = map(float, re.findall(r"\d+\.\d+", replies[-1]))
        ious.append(max(0, min(end, last) - max(start, first)) / (max(end, last) - min(start, first)))
    expected = {"mIoU": np.mean(ious), **{f"R1@{k}": np.mean([iou >= k for iou in ious]) for k in (0.3, 0.5, 0.7)}}
    assert 0.2 < expected["mIoU"] < 0.9 and expected["R1@0.3"] > expected["R1@0.7"]
    items = load("charadessta", made / "charadessta", counts=False)
    found = means(items, {item.id: reply for item, reply in zip(items, replies, strict=True)})
    assert {name: found[name] for name in expected} == pytest.approx(
        {name: 100 * value for name, value in expected.items()}, abs=1e-3
    )
