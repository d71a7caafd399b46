"""The measurement of the evaluator, on videos and a policy that are tiny."""

from pathlib import Path

import pytest

from bench.evaluate import TINY, compare
from videossr.ingest.synthetic import SyntheticParams


@pytest.mark.slow
def test_the_rows_compare_batches_with_one_question_at_a_time(tmp_path: Path):
    scenes = SyntheticParams(num_videos=2, min_seconds=2.0, max_seconds=2.0, size_pixels=128)
    rows = {row.name: row for row in compare(tmp_path, 1, scenes, larger=TINY)}
    assert list(rows) == ["many_questions", "overhead_tiny", "few_questions", "overhead"]
    assert rows["many_questions"].ratio > rows["few_questions"].ratio > 1
    assert 0 < rows["overhead"].ours < 100 and "million parameters" in rows["overhead"].unit
