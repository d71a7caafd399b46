"""Every run that the repository offers loads, and has the keys that the graph depends on."""

from pathlib import Path

import pytest
import yaml

from videossr.errors import ConfigError
from videossr.recipe import load_recipe

ROOT = Path(__file__).parents[1]
RUNS = [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_run_in_the_repository_loads(path):
    load_recipe(path)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_run_names_the_parameters_that_the_graph_depends_on(path):
    params = yaml.safe_load(path.read_text())
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in {name for stage in stages.values() for name in stage["params"]}:
        value = params
        for key in name.split("."):
            assert key in value, f"{path.name} lacks {name}, and DVC refuses to run without it"
            value = value[key]


def test_an_unknown_key_is_refused_with_the_accepted_ones(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("bench_fraction", "bench_fractoin"))
    with pytest.raises(ConfigError, match=r"ingest has no parameter 'bench_fractoin' \(did you mean 'bench_fraction'"):
        load_recipe(path)


def test_stored_frames_must_be_a_multiple_of_the_shown_ones(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["frames"]["num_frames"] = params["pretext"]["counting"]["num_frames"] * 3 + 1
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(ConfigError, match="must be a multiple of pretext.grounding.num_frames"):
        load_recipe(path)
