"""The graphs whose stages do nothing, and that the page shows the rows of the file."""

import json
from pathlib import Path

import pytest

from bench import overhead
from flows import stages
from tests.support import ROOT


def test_the_graphs_are_chains_that_differ_in_length_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = overhead.make_project(tmp_path / "project", 3)
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    monkeypatch.chdir(folder)
    assert stages.read_dependencies(folder) == {"stage0": [], "stage1": ["stage0"], "stage2": ["stage1"]}
    assert not any(stages.is_up_to_date(folder, stage) for stage in ("stage0", "stage1", "stage2"))


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    seconds, cpu = overhead.run(tmp_path, ["-c", "sum(range(3_000_000))"])
    assert 0 < cpu <= seconds + 0.1
    with pytest.raises(SystemExit, match="no such thing"):
        overhead.run(tmp_path, ["-c", "import sys; sys.exit('no such thing')"])


def test_the_page_shows_the_rows_of_the_file() -> None:
    page = (ROOT / overhead.PAGE).read_text(encoding="utf-8")
    assert page == overhead.with_rows(page, json.loads((ROOT / overhead.OUT).read_text()))
