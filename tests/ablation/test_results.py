"""The table of an ablation from the replies of its runs: paired gains, differences from the mixture, published rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.ablations import planned, share_right, write_replies
from videossr.ablation.page import render_ablation, write_ablation
from videossr.ablation.results import VariantReplies, compare_variants, read_replies
from videossr.ablation.variants import WHOLE
from videossr.errors import StoreError
from videossr.evaluation.runner import EvaluateParams
from videossr.evaluation.viubench import paper_table

QUICK = EvaluateParams(bootstrap_samples=200)


def replies_of(tmp_path: Path, seeds: tuple[int, ...], num_videos: int = 12) -> dict[str, VariantReplies]:
    return {
        variant.name: read_replies(
            {
                seed: write_replies(tmp_path / f"{variant.name}-{seed}", 0.25, share_right(variant), num_videos)
                for seed in seeds
            }
        )
        for variant in planned().variants
    }


@pytest.fixture
def result(tmp_path: Path) -> dict[str, Any]:
    return compare_variants(planned(), replies_of(tmp_path, (0, 1)), (0, 1), QUICK)


def test_gains_are_over_the_start_and_differences_from_the_mixture(result: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in result["variants"]}
    assert result["start"]["overall"] == pytest.approx(25)
    assert rows[WHOLE]["gain"]["overall"] == pytest.approx(50)
    assert rows[WHOLE]["difference"] is None
    assert rows["counting"]["gain"]["overall"] == pytest.approx(25)
    assert rows["counting"]["difference"]["overall"] == pytest.approx(-25)
    low, high = rows["counting"]["gain"]["ci95"]
    assert low < 25 < high


def test_seeds_share_their_videos_so_they_do_not_narrow_the_interval_of_equal_replies(tmp_path: Path) -> None:
    one = compare_variants(planned(), replies_of(tmp_path / "one", (0,)), (0,), QUICK)
    three = compare_variants(planned(), replies_of(tmp_path / "three", (0, 1, 2)), (0, 1, 2), QUICK)
    assert one["videos"] == three["videos"] == 12
    assert one["questions"] == three["questions"] == 108
    assert one["variants"][1]["gain"]["ci95"] == three["variants"][1]["gain"]["ci95"]


def test_the_means_of_the_tasks_are_those_of_their_columns(result: dict[str, Any]) -> None:
    assert {result["start"][task] for task in ("counting", "grounding", "jigsaw")} == {25.0}


def test_published_rows_are_quoted_from_the_papers_table(result: dict[str, Any]) -> None:
    assert result["published"]["start"]["overall"] == paper_table()["rows"]["Qwen3-VL-8B"]["overall"]
    page = render_ablation(result)
    assert page.count('<span class="tag">published</span>') == 2
    assert "VideoSSR-8B" in page and "51.9" in page


def test_the_report_is_a_page_a_figure_and_the_numbers_and_equal_results_give_equal_bytes(
    result: dict[str, Any], tmp_path: Path
) -> None:
    pages = [write_ablation(result, tmp_path / name) for name in ("one", "two")]
    assert sorted(path.name for path in pages[0].parent.iterdir()) == ["figure5.html", "figure5.json", "figure5.png"]
    assert json.loads(pages[0].with_suffix(".json").read_text()) == json.loads(json.dumps(result))
    for suffix in ("html", "json", "png"):
        assert pages[0].with_suffix(f".{suffix}").read_bytes() == pages[1].with_suffix(f".{suffix}").read_bytes()
    assert "http" not in pages[0].read_text().replace("http://www.w3.org", "")


def test_with_too_few_videos_the_page_shows_no_interval(tmp_path: Path) -> None:
    few = compare_variants(planned(), replies_of(tmp_path, (0,), num_videos=4), (0,), QUICK)
    page = render_ablation(few)
    assert "there are no intervals" in page
    assert "<small>" not in page


def test_a_run_without_replies_is_an_error_that_names_its_folder(tmp_path: Path) -> None:
    folder = write_replies(tmp_path / "run", 0.25, 0.5)
    (folder / "after.jsonl").unlink()
    with pytest.raises(StoreError, match=r"after\.jsonl must hold the replies of a run"):
        read_replies({0: folder})


def test_variants_that_answered_other_questions_are_not_compared(tmp_path: Path) -> None:
    replies = replies_of(tmp_path, (0,))
    replies["jigsaw"] = read_replies({0: write_replies(tmp_path / "other", 0.25, 0.5, num_videos=11)})
    with pytest.raises(StoreError, match="all variants must answer the same questions"):
        compare_variants(planned(), replies, (0,), QUICK)
