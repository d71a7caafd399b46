"""Files of JSON lines: the complete rows of any prefix are read, and the next append removes an incomplete row."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videossr.storage.jsonl import append_jsonl, read_jsonl

ROWS = st.lists(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=8), max_size=3))


def test_rows_are_read_as_they_were_appended(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    append_jsonl(path, [{"a": 1}, {"b": "ü\n"}])
    append_jsonl(path, [{"c": None}], sync=True)
    assert read_jsonl(path) == [{"a": 1}, {"b": "ü\n"}, {"c": None}]


def test_a_missing_or_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert read_jsonl(tmp_path / "none") == []
    (tmp_path / "empty").touch()
    assert read_jsonl(tmp_path / "empty") == []


@given(ROWS, st.data())
def test_any_prefix_of_a_file_reads_as_a_prefix_of_its_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    append_jsonl(path, rows)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    read = read_jsonl(path)
    assert read == rows[: len(read)]
    assert len(read) == path.read_bytes().count(b"\n")
    append_jsonl(path, [{"next": 1}])
    assert read_jsonl(path) == [*read, {"next": 1}]


@pytest.mark.parametrize("damage", [b"[1]\n", b"not json\n", b"\xff\n", b'{"a": 1}'])
def test_everything_from_the_first_damaged_line_on_is_dropped(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 0}\n' + damage + b'{"a": 2}\n')
    assert read_jsonl(path) == [{"a": 0}]


def test_an_append_removes_a_last_line_longer_than_any_buffer(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 0}\n' + b"x" * 200_000)
    append_jsonl(path, [{"a": 1}])
    assert read_jsonl(path) == [{"a": 0}, {"a": 1}]
    path.write_bytes(b"x" * 200_000)
    append_jsonl(path, [{"a": 1}])
    assert read_jsonl(path) == [{"a": 1}]


APPEND_WITHOUT_SPACE = """
import resource, signal, sys
from pathlib import Path
from videossr.errors import StoreError
from videossr.storage.jsonl import append_jsonl
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try:
    append_jsonl(Path(sys.argv[1]), [{"a": "more than the twenty bytes that a file may have"}])
except StoreError as error:
    print(error)
"""


def test_a_full_disk_is_one_sentence_and_the_whole_rows_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    append_jsonl(path, [{"a": 0}])
    command = [sys.executable, "-c", APPEND_WITHOUT_SPACE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"no space is left to write {path}: free some")
    assert read_jsonl(path) == [{"a": 0}]
