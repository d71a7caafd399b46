"""The quarantine, and fingerprints of code and folders."""

from pathlib import Path

import pytest

from videossr.errors import StoreError
from videossr.records import RejectedFile
from videossr.storage.fingerprint import code_fingerprint, folder_fingerprint
from videossr.storage.quarantine import read_quarantine, write_quarantine


def test_a_quarantine_is_read_as_it_was_written(tmp_path: Path) -> None:
    rejected = [RejectedFile("a.mp4", "corrupt", "at 3 s"), RejectedFile("ü\\x00.mp4", "too_short")]
    write_quarantine(tmp_path / "data" / "quarantine.parquet", rejected)
    assert read_quarantine(tmp_path / "data" / "quarantine.parquet") == rejected
    write_quarantine(tmp_path / "data" / "quarantine.parquet", [])
    assert read_quarantine(tmp_path / "data" / "quarantine.parquet") == []


def test_a_missing_quarantine_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no list of rejected files at .*: run the stage that writes it"):
        read_quarantine(tmp_path / "none.parquet")


def test_a_changed_byte_or_name_changes_the_fingerprint_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"1")
    seen = {folder_fingerprint(tmp_path)}
    (tmp_path / "deep" / "a").write_bytes(b"2")
    seen.add(folder_fingerprint(tmp_path))
    (tmp_path / "deep" / "a").rename(tmp_path / "deep" / "b")
    seen.add(folder_fingerprint(tmp_path))
    (tmp_path / "c").touch()
    seen.add(folder_fingerprint(tmp_path))
    assert len(seen) == 4
    (tmp_path / "c").unlink()
    assert folder_fingerprint(tmp_path) in seen


def test_the_fingerprint_of_code_depends_on_its_modules_and_libraries() -> None:
    same = code_fingerprint(["storage/*.py"], ["numpy"])
    assert same == code_fingerprint(["storage/*.py"], ["numpy"])
    assert same != code_fingerprint(["storage/atomic.py"], ["numpy"])
    assert same != code_fingerprint(["storage/*.py"], ["numpy", "pyarrow"])
