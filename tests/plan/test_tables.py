"""The tables of a plan, the measured throughput, and the command that prints both."""

import pytest
from typer.testing import CliRunner

from tests.support import ROOT
from videossr.cli import app
from videossr.errors import ConfigError
from videossr.plan.tables import read_groups_per_second


def test_measured_throughput_is_read_from_the_gpu_rows(tmp_path):
    path = tmp_path / "step.json"
    path.write_text(
        '[{"name": "step", "ours": 1, "theirs": 5, "ratio": 5, "unit": "s"},'
        ' {"name": "gpu_8b", "ours": 2.5, "theirs": 0.4, "ratio": 6.2, "unit": "groups/s"}]'
    )
    assert read_groups_per_second(path) == {"gpu_8b": 2.5}


def test_a_measurement_without_gpu_rows_raises(tmp_path):
    path = tmp_path / "step.json"
    path.write_text("[]")
    with pytest.raises(ConfigError, match="holds no row gpu_"):
        read_groups_per_second(path)


def test_a_missing_measurement_raises(tmp_path):
    with pytest.raises(ConfigError, match="there is no measurement"):
        read_groups_per_second(tmp_path / "none.json")


@pytest.mark.parametrize("text", ["no json", '{"name": "gpu_8b"}', '[{"name": "gpu_8b"}]'])
def test_a_file_that_is_no_measurement_raises(tmp_path, text):
    path = tmp_path / "step.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not a report of bench/grpo_step.py: give the file"):
        read_groups_per_second(path)


def test_the_command_prints_sizes_memory_operations_and_hours(tmp_path):
    measured = tmp_path / "step.json"
    measured.write_text('[{"name": "gpu_2b", "ours": 2.0, "theirs": 0.3, "ratio": 6.6, "unit": "groups/s"}]')
    recipe = ROOT / "recipes/qwen3-vl-2b-lora-24gb.yaml"
    result = CliRunner().invoke(app, ["plan", str(recipe), "--tflops", "150", "--measured", str(measured)])
    assert result.exit_code == 0
    for expected in ("69,730,304", "rollout: keys and values", "prompt repeated", "150 TFLOP/s", "2 groups/s", "24 GB"):
        assert expected in result.output
