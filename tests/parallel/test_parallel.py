"""Items in processes: results are in order, a bad item fails alone, and all processes end with the parent."""

import errno
import os
import pickle
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest

from flows.runtime import user_message
from videossr.errors import ConfigError
from videossr.parallel import Failure, ItemFailed, Limits, parallel_map
from videossr.parallel.supervisor import Supervisor

LIMITS = Limits(seconds=2.0, megabytes=100)


def _square_or_fail(number: int) -> int:
    if number == 5:
        os._exit(9)
    if number == 6:
        time.sleep(600)
    if number == 7:
        return len(bytearray(10**9))
    if number == 8:
        arrays = [np.ones(2**17) for _ in range(10_000) if not time.sleep(0.002)]
        return len(arrays)
    if number == 9:
        raise KeyError("unforeseen")
    return number * number


@pytest.mark.parametrize("workers", [1, 3])
def test_an_item_that_crashes_hangs_fills_memory_or_raises_fails_alone_and_in_order(workers: int) -> None:
    results = list(parallel_map(_square_or_fail, range(14), workers, LIMITS, lambda number, failure: failure))
    assert [failure.reason for failure in results[5:10]] == [
        "crashed",
        "timeout",
        "out_of_memory",
        "out_of_memory",
        "crashed",
    ]
    assert results[:5] + results[10:] == [number * number for number in (*range(5), *range(10, 14))]


def _fill_memory_and_report_damage(number: int) -> str:
    """Memory is above the limit for a moment, shorter than the supervisor's interval, as under load."""
    del [bytearray(b"x") * (150 * 2**20) for _ in range(1)][:]
    return "corrupt"


def test_an_item_that_needed_too_much_memory_fails_for_that_reason_whatever_it_reports() -> None:
    results = parallel_map(_fill_memory_and_report_damage, range(3), 1, LIMITS, lambda number, failure: failure.reason)
    assert list(results) == ["out_of_memory"] * 3


def _work_and_wait(seconds: float) -> str:
    """Work a tenth of the time: what a process on a loaded machine gets."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pause = time.monotonic() + 0.02
        while time.monotonic() < pause:
            pass
        time.sleep(0.18)
    return "done"


def _work_for_ever(number: float) -> str:
    while True:
        pass


def test_the_time_limit_counts_processor_time_and_not_that_of_other_programs() -> None:
    limits = Limits(seconds=1.0)
    assert list(parallel_map(_work_and_wait, [3.0], 1, limits, lambda number, failure: failure.reason)) == ["done"]
    assert list(parallel_map(_work_for_ever, [0.0], 1, limits, lambda number, failure: failure.detail)) == [
        "not done after 1 seconds of processor time"
    ]


_leaked: list[np.ndarray] = []


def _leak(number: int) -> tuple[int, int]:
    _leaked.append(np.ones(2**22))  # 32 MiB
    return number, os.getpid()


@pytest.mark.parametrize("limits", [Limits(), None])
def test_a_process_that_leaks_memory_is_replaced_between_two_items(limits: Limits | None) -> None:
    results = list(parallel_map(_leak, range(24), 2, limits))
    assert [number for number, _ in results] == list(range(24))
    items = Counter(pid for _, pid in results)
    assert len(items) >= 5 and max(items.values()) <= 5


def _die_once(path: Path) -> str:
    if path.exists():
        return "alive"
    path.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def test_an_item_whose_process_is_killed_is_tried_again(tmp_path: Path) -> None:
    assert list(parallel_map(_die_once, [tmp_path / "tried"], 1, LIMITS, lambda item, failure: failure)) == ["alive"]


def _die_in_the_middle_of_an_answer(path: Path) -> str:
    """As if the system killed the process while it writes a long answer: length and first bytes are sent, no more."""
    if path.name == "once" and path.exists():
        return "alive"
    path.touch()
    os.write(int(sys.argv[1]), struct.pack("!i", 1000) + b"the first bytes of a thousand")
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def test_a_process_that_dies_in_the_middle_of_an_answer_is_a_crash(tmp_path: Path) -> None:
    items = [tmp_path / name for name in ("once", "always")]
    results = list(parallel_map(_die_in_the_middle_of_an_answer, items, 1, LIMITS, lambda item, failure: failure))
    assert results == ["alive", Failure("crashed", "the process that read it died, twice")]


def test_a_process_that_cannot_be_started_is_an_error_and_not_a_failed_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(FileNotFoundError, match="/no/such/python"):
        Supervisor(pickle.dumps(abs), LIMITS, Path.cwd(), sys.path).run(pickle.dumps(-1))


def _write_a_video(path: str) -> None:
    with av.open(path, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"g": "1"})
        stream.width = stream.height = 64
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode()])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_in_a_worker_process_is_the_same_sentence_as_here(workers: int) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        list(parallel_map(_write_a_video, ["/dev/full"], workers))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")
    assert "the disk is full while writing /dev/full" in (user_message(caught.value) or "")


def _raise_config_error(number: int) -> int:
    raise ConfigError("a user's mistake")


def test_a_users_mistake_and_a_failure_without_a_handler_are_raised() -> None:
    with pytest.raises(ConfigError, match="mistake"):
        list(parallel_map(_raise_config_error, [1], 1, LIMITS, lambda item, failure: 0))
    with pytest.raises(ItemFailed, match="at 5"):
        list(parallel_map(_square_or_fail, [5], 2))


def test_an_early_exit_does_not_wait_for_running_items() -> None:
    began = time.monotonic()
    for result in parallel_map(_square_or_fail, [2, 6, 6, 6], 2):
        assert result == 4
        break
    assert time.monotonic() - began < 30


def _write_pid_and_sleep(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def _sleep_in_two_processes(folder: str) -> None:
    list(parallel_map(_write_pid_and_sleep, [folder, folder], 2))


def test_all_processes_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    parent = get_context("spawn").Process(target=_sleep_in_two_processes, args=(str(tmp_path),))
    parent.start()
    assert _becomes_true(lambda: len(list(tmp_path.iterdir())) == 2)
    parent.kill()
    parent.join()
    assert _becomes_true(lambda: not any(_is_alive(path.name) for path in tmp_path.iterdir()))


def _is_alive(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _becomes_true(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()
