"""Items in processes: order kept, one death costs one item, nothing outlives the parent."""

import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from videossr.parallel import in_processes


def _square_or_die(number: int) -> int:
    time.sleep(0.2 * (number == 0))
    if number == 5:
        os._exit(9)
    return number * number


def test_a_process_that_dies_costs_one_item_and_no_order() -> None:
    results = list(in_processes(_square_or_die, range(14), 2, on_death=lambda number: -number))
    assert results == [-5 if number == 5 else number * number for number in range(14)]


def _tell_who_and_wait(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def _run_two(folder: str) -> None:
    list(in_processes(_tell_who_and_wait, [folder, folder], 2))


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    parent = get_context("spawn").Process(target=_run_two, args=(str(tmp_path),))
    parent.start()
    assert _comes_true(lambda: len(list(tmp_path.iterdir())) == 2)
    parent.kill()
    parent.join()
    assert _comes_true(lambda: not any(_is_alive(path.name) for path in tmp_path.iterdir()))


def _is_alive(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _comes_true(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()
