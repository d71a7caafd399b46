"""Files and folders are written whole or not at all, and an old file is never overwritten in place."""

import errno
import json
import os
from pathlib import Path

import pytest

from videossr.errors import StoreError
from videossr.storage.atomic import (
    atomic_file,
    atomic_folder,
    explain_full_disk,
    write_bytes,
    write_json,
    write_text,
)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_file_is_written_into_a_folder_that_is_created(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "er" / "a.txt", "ü\n")
    assert (tmp_path / "deep" / "er" / "a.txt").read_bytes() == "ü\n".encode()
    assert names(tmp_path) == {"deep", "deep/er", "deep/er/a.txt"}


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half of the new")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_partial_file_of_a_killed_run_is_not_part_of_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "a.partial").write_bytes(b"left over ")
    with atomic_file(tmp_path / "a") as temporary, temporary.open("ab") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and names(tmp_path) == {"a"}


def test_a_hard_link_to_the_old_file_keeps_its_content(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    os.link(tmp_path / "a", tmp_path / "cached")
    write_bytes(tmp_path / "a", b"new")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "cached").read_bytes()) == (b"new", b"old")


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("old", "both"):
        write_text(tmp_path / "store" / name, "old")
    (tmp_path / "store.partial").mkdir()
    (tmp_path / "store.partial" / "left over").touch()
    with atomic_folder(tmp_path / "store") as temporary:
        (temporary / "both").write_text("new")
        assert (tmp_path / "store" / "old").exists(), "the old folder stays until the new one is whole"
    assert names(tmp_path) == {"store", "store/both"} and (tmp_path / "store" / "both").read_text() == "new"


def test_an_error_while_filling_leaves_the_old_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "store" / "old", "old")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "store") as temporary:
        (temporary / "new").touch()
        raise ZeroDivisionError
    assert names(tmp_path / "store") == {"old"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_sentence_that_names_the_file(number: int, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no space .*/a: free some"), atomic_file(tmp_path / "a"):
        raise OSError(number, "full")
    assert not (tmp_path / "a").exists()


def test_other_system_errors_are_raised_unchanged(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), explain_full_disk(tmp_path):
        raise PermissionError(errno.EACCES, "no", "a")


def test_json_is_written_indented_or_in_one_line(tmp_path: Path) -> None:
    value = {"a": [1, 2.5], "b": None}
    write_json(tmp_path / "wide", value)
    write_json(tmp_path / "narrow", value, indent=None)
    assert json.loads((tmp_path / "wide").read_text()) == json.loads((tmp_path / "narrow").read_text()) == value
    assert "\n" in (tmp_path / "wide").read_text() and "\n" not in (tmp_path / "narrow").read_text()
