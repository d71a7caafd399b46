"""The store of replies: what a kill, another process or a damaged line can do to it."""

import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.downstream.test_run import Recorder, answer, load_made
from videossr.errors import StoreError
from videossr.evaluation.benchmarks import FoundVideos, Items
from videossr.evaluation.downstream import ReplyStore, read_answers
from videossr.evaluation.downstream.store import StoredReply
from videossr.models.policy import FailedReply, ScriptedPolicy

FORK = get_context("fork")
HEADER = {"benchmark": "videomme", "policy": "p"}


def many_items(made: Path, copies: int) -> tuple[Items, FoundVideos]:
    """The questions of Video-MME, each `copies` times under ids of its own."""
    items, found = load_made(made, "videomme")
    copied = tuple(replace(item, id=f"{item.id}-{n:03d}") for item in items for n in range(copies))
    return replace(items, items=copied), replace(found, num_items=len(copied))


def reply_slowly(prompt):
    time.sleep(0.002)
    return f"reply to {prompt.text[-30:]}"


def evaluate_slowly(made: Path, out: Path, copies: int) -> None:
    answer(ScriptedPolicy(reply_slowly), many_items(made, copies), out, batch_size=3)


def stored_ids(path: Path) -> list[str]:
    """The ids of all whole lines, with their repetitions."""
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()[1:]]


def kill_after(process: BaseProcess, out: Path, replies: int, seconds: float) -> None:
    """Kill `process` when the store in `out` has so many replies, and `seconds` have passed since."""
    while process.is_alive() and num_lines(out) <= replies:
        time.sleep(0.002)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it must be killed while it runs"


def num_lines(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*.jsonl"))


@pytest.mark.slow
def test_twenty_kills_lose_a_batch_at_most_and_double_nothing(made, tmp_path):
    rng = np.random.default_rng(0)
    kept, copies = 0, 60  # 720 questions
    for _ in range(20):
        process = FORK.Process(target=evaluate_slowly, args=(made, tmp_path, copies))
        process.start()
        # At any moment of a batch: three replies take about 10 ms. The first kills may hit the start of the run.
        kill_after(process, tmp_path, kept + int(rng.integers(0, 30)) - 3, rng.uniform(0, 0.02))
        for path in tmp_path.glob("*.jsonl"):
            stored = len(read_answers(path).replies)
            assert stored >= kept, "what was stored stays"
            kept = stored
    assert kept > 100, "the kills must hit a run that gets on"
    evaluate_slowly(made, tmp_path, copies)
    evaluate_slowly(made, tmp_path / "undisturbed", copies)
    (path,), (expected,) = tmp_path.glob("*.jsonl"), (tmp_path / "undisturbed").glob("*.jsonl")
    assert Counter(stored_ids(path)) == Counter(stored_ids(expected))
    assert read_answers(path).replies == read_answers(expected).replies


def test_a_run_that_is_killed_goes_on(made, tmp_path):
    process = FORK.Process(target=evaluate_slowly, args=(made, tmp_path, 12))
    process.start()
    kill_after(process, tmp_path, 10, 0.003)
    evaluate_slowly(made, tmp_path, 12)
    (path,) = tmp_path.glob("*.jsonl")
    assert Counter(stored_ids(path)) == Counter(item.id for item in many_items(made, 12)[0])


def test_two_evaluations_of_one_store_take_turns(made, tmp_path):
    processes = [FORK.Process(target=evaluate_slowly, args=(made, tmp_path, 8)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    (path,) = tmp_path.glob("*.jsonl")
    assert Counter(stored_ids(path)) == Counter(item.id for item in many_items(made, 8)[0])


def test_what_another_process_stored_is_not_stored_twice(tmp_path):
    first, second = ReplyStore(tmp_path, HEADER), ReplyStore(tmp_path, HEADER)
    first.add([StoredReply("a", "A", ((0.0, 0.5),))], {})
    second.add([StoredReply("a", "B"), StoredReply("b", "B")], {"c": "no reply"})
    assert second.replies["a"] == StoredReply("a", "A", ((0.0, 0.5),)) and stored_ids(first.path) == ["a", "b"]
    assert second.errors == {"c": "no reply"} == read_answers(first.path).errors
    first.add([StoredReply("c", "C")], {})
    assert ReplyStore(tmp_path, HEADER).errors == {} == read_answers(first.path).errors
    assert read_answers(first.path).replies == {"a": "A", "b": "B", "c": "C"}


def test_half_a_last_line_is_dropped_and_its_item_asked_again(made, tmp_path):
    first = answer(Recorder(), load_made(made, "videomme"), tmp_path)
    content = first.path.read_bytes()
    first.path.write_bytes(content[:-9])
    assert len(read_answers(first.path).replies) == len(first.replies) - 1
    again = Recorder()
    assert answer(again, load_made(made, "videomme"), tmp_path) == first
    assert len(again.texts) == 1 and first.path.read_bytes() == content


@pytest.mark.parametrize("damage", [b'{"id": "001-1", "re\n', b"\x00\xff\n", b"[]\n", b'{"id": 3}\n'])
def test_a_damaged_line_within_costs_its_item_alone(made, tmp_path, damage):
    first = answer(Recorder(), load_made(made, "videomme"), tmp_path)
    lines = first.path.read_bytes().splitlines(keepends=True)
    first.path.write_bytes(b"".join([*lines[:3], damage, *lines[4:]]))
    again = Recorder()
    assert answer(again, load_made(made, "videomme"), tmp_path).replies == first.replies and len(again.texts) == 1


def test_a_file_without_its_header_is_one_sentence(tmp_path):
    store = ReplyStore(tmp_path, HEADER)
    store.path.write_text('{"header": {"benchmark": "mvbench"}}\n')
    with pytest.raises(StoreError, match="must begin with the header of its replies, it does not: remove the file"):
        ReplyStore(tmp_path, HEADER)
    (tmp_path / "notes.jsonl").write_text("hello\n")
    for path in (tmp_path / "notes.jsonl", tmp_path / "missing.jsonl"):
        with pytest.raises(StoreError, match="must be a file of replies that begins with a header"):
            read_answers(path)


def test_errors_are_kept_apart_from_answers(made, tmp_path):
    answers = answer(Recorder(lambda prompt: FailedReply("429")), load_made(made, "videomme"), tmp_path)
    assert answers.replies == {} and len(answers.path.read_text().splitlines()) == 1
    assert set(answers.for_scoring.values()) == {None}
