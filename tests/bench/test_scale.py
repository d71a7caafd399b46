"""The arithmetic of docs/scale.md: it follows from the measured figures, and the page shows what the file holds."""

import json
from pathlib import Path

import pytest

from bench import scale
from tests.support import ROOT


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_page_and_its_file_follow_from_the_measured_figures() -> None:
    stored = json.loads(scale.OUT.read_text(encoding="utf-8"))
    assert stored == scale.compute(scale.VIDEOS, scale.Assumptions())
    page = scale.PAGE.read_text(encoding="utf-8")
    assert page == scale.with_tables(page, stored)


def test_amounts_grow_with_the_number_of_videos_and_money_with_the_price() -> None:
    cheap = scale.compute((1000, 10_000), scale.Assumptions())["rows"]
    (dear,) = scale.compute((1000,), scale.Assumptions(gpu_hour=5.0))["rows"]
    assert all(cheap[1][name] == pytest.approx(10 * cheap[0][name]) for name in cheap[0])
    assert dear["gpu_money_8b"] == pytest.approx(2 * cheap[0]["gpu_money_8b"])
    assert dear["gpu_hours_8b"] == cheap[0]["gpu_hours_8b"]


def test_a_gpu_hour_of_the_8b_policy_is_what_was_measured() -> None:
    (row,) = scale.compute((1_000_000,), scale.Assumptions())["rows"]
    rows = json.loads(Path("docs/measured/grpo_step-h100.json").read_text(encoding="utf-8"))
    groups = next(each["ours"] for each in rows if each["name"] == "gpu_qwen3_vl_8b_groups")
    assert row["gpu_hours_8b"] * 3600 * groups == pytest.approx(1_000_000)


def test_a_price_of_zero_or_a_page_without_its_lines_is_one_sentence() -> None:
    with pytest.raises(SystemExit, match="gpu_hour must be above 0, got 0"):
        scale.Assumptions(gpu_hour=0)
    with pytest.raises(SystemExit, match="must hold the lines"):
        scale.with_tables("", scale.compute((1,), scale.Assumptions()))
