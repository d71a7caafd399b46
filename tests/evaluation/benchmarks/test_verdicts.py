"""Our verdicts on replies that other harnesses were run on: every difference has its reason in the docs."""

import json
import re
from collections import Counter, defaultdict
from typing import Any

import pytest

from tests.support import ROOT, SHARED
from videossr.evaluation.benchmarks.labels import parse_label
from videossr.evaluation.benchmarks.options import read_answer, read_options
from videossr.evaluation.benchmarks.replies import parse_interval, strip_reply
from videossr.rewards import interval_iou

GOLDENS = SHARED / "benchmarks/parse_goldens.jsonl"
HARNESSES = ("VideoSSR", "lmms-eval", "VLMEvalKit", "visual_jigsaw", "official")
FORMS = {
    "tempcompass/multi-choice": ("in_question", "line"),
    "tempcompass/caption_matching": ("in_question", "line"),
    "tempcompass/yes_no": ("yes_no", "line"),
    "cvbench": ("lettered", "label"),
    "aotbench": ("lettered", "label"),
}
# What a reply looks like without marks and tags, where a harness and we differ; the first that fits is its class.
CLASSES = {
    "no label of the item": r"|I cannot find the event",
    "clock times": r"\d+:\d\d.*",
    "decimal comma": r"\d+,\d - \d+,\d",
    "numbers in a quotation": r".*'person 1 - 2 throws'.*",
    "interval in other words or marks": r".*24\.3.*",
    "several labels": r"Yes and no|A: no\. J: yes|Let me think\. A\. is wrong.*",
    "first letter of a word": r"A man eats before he drinks|All .*",
    "label in marks, tags or white space": r"[A-Z]|Yes",
    "label in another case": r"(option )?([a-z2]|yes|YES)",
    "label in a sentence": r"(Answer:|The |A man is seen|First,|Option |Nothing |Yes,|A\. White).*",
    "option text": r".+",
}
LETTER_READERS = ("VideoSSR", "visual_jigsaw b3224c6")  # they compare one letter, also where the answer is a word
MARKS = re.compile(r"<think>.*</think>|</?answer>|\\boxed", re.DOTALL)


def goldens() -> list[dict[str, Any]]:
    if not GOLDENS.is_file():
        pytest.skip("needs the verdicts of other harnesses beside the project")
    rows = [json.loads(line) for line in GOLDENS.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "aggregate" not in row]


def their_verdict(verdict: dict[str, Any]) -> str | float:
    """`right`, `wrong`, an IoU, `judge` where a model is asked, `dropped` where the question is not counted."""
    if "crash" in verdict or verdict.get("dropped_from_denominator") or "denominator" in str(verdict.get("note")):
        return "dropped"
    if "rating" in verdict:
        return {1: "right", 0: "wrong"}.get(verdict["rating"], "judge")
    if "iou" in verdict:
        return verdict["iou"]
    return "right" if verdict["correct"] else "wrong"


def our_verdict(row: dict[str, Any]) -> str | float:
    reply = strip_reply(row["reply"])
    if row.get("options") is None:
        interval = parse_interval(reply)
        return round(interval_iou(interval, tuple(row["answer"])), 4) if interval else 0.0
    form, answer_form = FORMS.get(row["benchmark"], ("bare", "label"))
    options = read_options(form, row["options"], "\n".join(["?", *row["options"]]))
    answer = read_answer(answer_form, row["answer"], options)
    return "right" if parse_label(reply, options.labels, options.texts) == answer else "wrong"


def class_of(row: dict[str, Any]) -> str:
    reply = MARKS.sub("", row["reply"]).replace("\n", " ").strip(" .*(){}[]<>$")
    if reply == row["reply"] == "B" and row["benchmark"] == "tempcompass/caption_matching":
        return "no label of the item"
    if reply == "Yes" and row["harness"] in LETTER_READERS:
        return "yes or no against a letter"
    return next(name for name, pattern in CLASSES.items() if re.fullmatch(pattern, reply))


def differences() -> dict[str, Counter[str]]:
    """How often each harness differs from us, by class of reply."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in goldens():
        if their_verdict(row["verdict"]) != our_verdict(row):
            found[class_of(row)][row["harness"].split()[0]] += 1
    return found


def test_most_verdicts_agree():
    agreed = sum(their_verdict(row["verdict"]) == our_verdict(row) for row in goldens())
    assert (agreed, len(goldens())) == (217, 392)


def test_every_difference_from_a_harness_has_its_row_in_the_docs():
    page = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+) \| .* ((?:\| \d+ ){5})\|$", page, re.MULTILINE))
    expected = {
        name: "".join(f"| {counts[harness]} " for harness in HARNESSES) for name, counts in differences().items()
    }
    assert rows == expected


def test_a_harness_that_reads_what_we_do_not_does_so_by_a_letter_or_by_one_of_several_labels():
    lost = {
        row["reply"] for row in goldens() if their_verdict(row["verdict"]) == "right" and our_verdict(row) == "wrong"
    }
    assert lost == {
        "",
        "(",
        "A man eats before he drinks",
        "All of the above",
        "All frames go backwards",
        "Yes and no",
        "A: no. J: yes.",
        "Let me think. A. is wrong, B. is wrong. J. is right",
    }


def test_no_interval_is_read_worse_than_by_a_harness():
    for row in goldens():
        theirs, ours = their_verdict(row["verdict"]), our_verdict(row)
        assert not isinstance(theirs, float) or ours >= theirs
