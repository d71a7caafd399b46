"""Two policies on the same questions: the arithmetic by hand, the commands on stored replies."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from tests.support.evaluated_project import bench_samples, replies
from tests.support.made_items import choice, items_of
from videossr.cli import app
from videossr.dataset.samples import write_samples
from videossr.errors import BenchmarkError, VideoSSRError
from videossr.evaluation.benchmarks import Item, VideoRef, load
from videossr.evaluation.downstream import ReplyStore
from videossr.evaluation.downstream.comparison import compare
from videossr.evaluation.downstream.store import StoredReply
from videossr.evaluation.runner import samples_digest, write_scored_replies


def write_replies(folder: Path, made: Path, key: str, policy: str, given: dict[str, str], frames: int = 8) -> Path:
    """A file of replies to all items of a made benchmark: `given` by id, else the right answer."""
    items = load(key, made / key, counts=False)
    header = {"benchmark": key, "layout": items.layout_name, "items": items.digest, "policy": policy, "frames": frames}
    store = ReplyStore(folder, header)
    store.add([StoredReply(item.id, given.get(item.id, item.answer)) for item in items], {})
    return store.path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_differences_are_paired_by_question_and_changed_items_are_listed():
    # Eight videos: right and wrong, wrong and right, twice; the others stay.
    items = items_of(
        "videomme", [choice(str(n), "A", groups={"half": ("low" if n < 4 else "high",)}) for n in range(8)]
    )
    before = {"0": "A", "1": "B", "2": "B", "3": "A", "4": "B", "5": "B", "6": "A", "7": "A"}
    after = {"0": "B", "1": "A", "2": "A", "3": "A", "4": "A", "5": "B", "6": "A", "7": "A"}
    found = compare(items, before, after)
    # Right: 4 of 8 before, 6 of 8 after.
    assert (found.before["accuracy"].mean, found.after["accuracy"].mean) == (50, 75)
    difference = found.differences["accuracy"]
    assert (difference.mean, difference.units, difference.videos) == (25, 8, 8)
    assert (found.turned_right, found.turned_wrong) == (3, 1)
    assert [(flip.item.id, flip.reply_before, flip.reply_after) for flip in found.flips] == [
        ("0", "A", "B"),
        ("1", "B", "A"),
        ("2", "B", "A"),
        ("4", "B", "A"),
    ]
    assert difference.low < 0 < difference.high and not found.significant
    halves = {value: columns["accuracy"].mean for value, columns in found.groups["half"].items()}
    assert halves == {"low": 25, "high": 25}
    assert json.loads(json.dumps(found.as_record()))["turned_right"] == 3


def test_a_difference_between_equal_means_is_still_paired():
    items = items_of("videomme", [choice(str(n), "A") for n in range(40)])
    found = compare(items, {str(n): "A" if n < 20 else "B" for n in range(40)}, {str(n): "A" for n in range(40)})
    assert found.significant and found.differences["accuracy"].mean == 50
    same = compare(items, {str(n): "A" for n in range(40)}, {str(n): "A" for n in range(40)})
    difference = same.differences["accuracy"]
    assert (difference.mean, difference.low, difference.high, same.flips) == (0, 0, 0, ())


def test_few_videos_have_the_whole_range_of_differences():
    items = items_of("videomme", [choice(str(n), "A", cluster="one") for n in range(40)])
    difference = compare(items, {}, {str(n): "A" for n in range(40)}).differences["accuracy"]
    assert (difference.low, difference.high) == (-100, 100)


def test_questions_that_neither_was_asked_are_left_out_and_counted():
    items = items_of("videomme", [choice(str(n), "A") for n in range(4)])
    found = compare(items, {"0": "A", "1": None}, {"0": "B", "1": "A"})
    assert (found.not_asked, found.differences["accuracy"].units) == (2, 2)
    assert (found.turned_right, found.turned_wrong) == (1, 1)
    with pytest.raises(BenchmarkError, match="needs a reply to at least one question of videomme, got none"):
        compare(items, {}, {})


def test_an_interval_is_right_from_half_on():
    window = Item("0", (VideoRef("v"),), "?", "-", windows=((0.0, 10.0),), duration_seconds=20, cluster="v")
    found = compare(items_of("charadessta", [window]), {"0": "0 - 4"}, {"0": "0 - 5"})
    assert (found.turned_right, found.turned_wrong) == (1, 0)
    assert found.differences["mIoU"].mean == pytest.approx(10)


def test_folders_are_matched_by_benchmark_and_setting(made: Path, tmp_path: Path):
    for key in ("videomme", "charadessta"):
        wrong = {item.id: "?" for item in load(key, made / key, counts=False)[:2]}
        write_replies(tmp_path / "a", made, key, "base", wrong)
        write_replies(tmp_path / "b", made, key, "trained", {})
    write_replies(tmp_path / "b", made, "cvbench", "trained", {})
    out, page = tmp_path / "compared.json", tmp_path / "tables.html"
    options = ("--annotations", made, "--flipped", "--groups", "--out", out, "--page", page)
    result = invoke("compare", tmp_path / "a", tmp_path / "b", *options)
    assert result.exit_code == 0, result.output
    assert "charadessta: 2 items changed" in result.output and "has no partner" in result.output
    records = list(json.loads(out.read_text(encoding="utf-8")).values())
    assert [(each["benchmark"], each["turned_right"], each["turned_wrong"]) for each in records] == [
        ("videomme", 2, 0),
        ("charadessta", 2, 0),
    ]
    html = page.read_text(encoding="utf-8")
    assert "Temporal grounding" in html and "Charades-STA (test), mIoU" in html and "not run" in html


def test_headings_of_the_tables_stay_whole_on_a_terminal_of_eighty_columns(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    write_replies(tmp_path / "a", made, "charadessta", "base", {})
    write_replies(tmp_path / "b", made, "charadessta", "trained", {"M0000#0": "I cannot tell when that happens."})
    for command, heading in (
        (("compare", tmp_path / "a", tmp_path / "b", "--groups", "--flipped"), "before after difference changed units"),
        (("rescore", tmp_path / "a"), "metric percent 95 % if parsed chance"),
        (("benchmarks",), "key group state, licence, how to obtain"),
    ):
        printed = invoke(*command, "--annotations", made).stdout
        lines = [" ".join(line.split()) for line in printed.splitlines()]
        assert any(heading in line for line in lines), printed
        assert all(len(line) <= 80 or ".jsonl" in line for line in printed.splitlines()), printed


def test_stored_replies_are_scored_again_without_a_model(made: Path, tmp_path: Path):
    items = load("videomme", made / "videomme", counts=False)
    write_replies(tmp_path / "a", made, "videomme", "base", {items[0].id: "\x1b]0;title\x07"})
    out = tmp_path / "scores.json"
    result = invoke("rescore", tmp_path / "a", "--annotations", made, "--out", out)
    assert result.exit_code == 0 and "\x1b]0" not in result.output
    (record,) = json.loads(out.read_text(encoding="utf-8")).values()
    assert record["columns"]["accuracy"]["mean"] == pytest.approx(100 * (len(items) - 1) / len(items), abs=1e-3)
    assert (record["counts"]["parsed"], record["header"]["policy"]) == (len(items) - 1, "base")


def test_the_replies_of_the_runs_own_viubench_are_compared_too(tmp_path: Path):
    samples = bench_samples()
    write_samples(tmp_path / "samples/viubench.parquet", samples)
    for name, share in (("before", 0.2), ("after", 0.9)):
        header = {"samples": samples_digest(samples), "policy": name}
        write_scored_replies(tmp_path / f"{name}.jsonl", replies(samples, share), header)
    arguments = (tmp_path / "before.jsonl", tmp_path / "after.jsonl", "--samples", tmp_path / "samples")
    out = tmp_path / "compared.json"
    result = invoke("compare", *arguments, "--out", out)
    assert result.exit_code == 0, result.output
    (record,) = json.loads(out.read_text(encoding="utf-8")).values()
    assert record["benchmark"] == "viubench" and record["significant"]
    assert record["turned_right"] > 0 == record["turned_wrong"]
    assert set(record["groups"]["task"]) == {"grounding", "counting", "jigsaw"}
    write_samples(tmp_path / "samples/viubench.parquet", samples[1:])
    assert "holds replies to other samples than those in" in str(invoke("compare", *arguments).exception)


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("missing", "must be a file of replies or a folder of them, it does not exist"),
        ("empty", "must hold files of replies .*, it has none: name another folder"),
        ("no header", "must be a file of replies that begins with a header"),
        ("another benchmark", "both files must hold replies to one benchmark, .* is of videomme and .* of cvbench"),
        ("other annotations", "holds replies to other questions of videomme than those in"),
        (
            "fewer replies",
            "needs replies to the same questions of videomme, got .*: evaluate both policies on the same",
        ),
        ("two of one setting", "hold replies to videomme in the same setting: name one file of them"),
        ("no common setting", "must hold replies to the same benchmark in the same setting"),
    ],
)
def test_a_mistake_is_one_sentence(made: Path, tmp_path: Path, mistake: str, sentence: str):
    first = write_replies(tmp_path / "a", made, "videomme", "base", {})
    second = write_replies(tmp_path / "b", made, "videomme", "trained", {})
    annotations = made
    if mistake == "missing":
        second = tmp_path / "nothing.jsonl"
    elif mistake == "empty":
        second = tmp_path / "empty"
        second.mkdir()
    elif mistake == "no header":
        second.write_text('{"id": "1"}\n')
    elif mistake == "another benchmark":
        second = write_replies(tmp_path / "c", made, "cvbench", "trained", {})
    elif mistake == "other annotations":
        annotations = tmp_path / "annotations"
        shutil.copytree(made, annotations)
        table = annotations / "videomme/videomme/test-00000-of-00001.parquet"
        pd.read_parquet(table).iloc[1:].to_parquet(table)
    elif mistake == "fewer replies":
        second.write_text("".join(second.read_text().splitlines(keepends=True)[:-1]))
    elif mistake == "two of one setting":
        write_replies(tmp_path / "b", made, "videomme", "another", {})
        write_replies(tmp_path / "a", made, "cvbench", "base", {})
        first, second = tmp_path / "a", tmp_path / "b"
    elif mistake == "no common setting":
        write_replies(tmp_path / "c", made, "videomme", "trained", {}, frames=16)
        write_replies(tmp_path / "c", made, "cvbench", "trained", {})
        first, second = tmp_path / "a", tmp_path / "c"
    result = invoke("compare", first, second, "--annotations", annotations)
    assert isinstance(result.exception, VideoSSRError)
    assert re.search(sentence, str(result.exception))
