"""The params section `downstream`, the random guess, and what `videossr check` finds before a run."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.benchmark_records import write_made_records
from videossr import config
from videossr.errors import BenchmarkError, ConfigError
from videossr.evaluation import load
from videossr.evaluation.benchmarks import chance, parse_reply, score
from videossr.evaluation.downstream import ReplyStore, read_answers
from videossr.evaluation.downstream.guesses import guess_answers, write_guesses
from videossr.evaluation.downstream.params import DownstreamParams
from videossr.recipe import load_recipe
from videossr.runnable import require_files_and_libraries


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"benchmarks": ["mvbensh"]}, "benchmarks must be among viubench, mvbench, .* got 'mvbensh'"),
        ({"benchmarks": ["viubench"]}, "got viubench: the stage evaluate has it"),
        ({"benchmarks": ["tacos"]}, "made benchmarks are charadessta, videomme, cvbench, got tacos"),
        ({"benchmarks": ["cvbench", "cvbench"]}, "benchmarks must differ from each other"),
        ({"videos": "videos"}, "videos must be left out where annotations are made, got videos"),
        ({"policies": []}, "policies must name at least one row"),
        ({"policies": ["best"]}, "must be one of random, blind, before, after, got 'best'"),
        ({"protocol": "ours"}, "protocol must be one of videossr, official"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"frames": 1}, "frames must be at least 2, got 1"),
        ({"bootstrap_samples": 10}, "bootstrap_samples must be at least 100, got 10"),
    ],
)
def test_a_mistake_in_the_section_is_one_sentence(section: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        config.build(DownstreamParams, section, "downstream")


def test_videos_are_beside_the_annotations_where_they_have_no_folder_of_their_own():
    made, folder = Path("made"), DownstreamParams(("tacos",), annotations="here")
    assert DownstreamParams(("cvbench",)).folders("cvbench", made) == (made / "cvbench", made / "cvbench")
    assert folder.folders("tacos", made) == (Path("here/tacos"), Path("here/tacos"))
    apart = DownstreamParams(("tacos",), annotations="here", videos="/there")
    assert apart.folders("tacos", made) == (Path("here/tacos"), Path("/there/tacos"))


def test_check_finds_a_benchmark_without_a_folder(tmp_path: Path):
    text = (ROOT / "params.yaml").read_text().replace("annotations: made ", "annotations: benchmarks ")
    (tmp_path / "params.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "params.yaml")
    (tmp_path / "benchmarks" / "charadessta").mkdir(parents=True)
    with pytest.raises(BenchmarkError, match="downstream.annotations must hold .* no benchmarks/videomme: download"):
        require_files_and_libraries(recipe, tmp_path)
    for key in recipe.downstream.benchmarks:
        (tmp_path / "benchmarks" / key).mkdir(exist_ok=True)
    require_files_and_libraries(recipe, tmp_path)


@pytest.mark.parametrize("key", ["charadessta", "videomme", "vcrbench", "cvbench"])
def test_a_guess_can_be_read_and_is_the_same_for_the_same_seed(key: str, tmp_path: Path):
    write_made_records(key, tmp_path)
    items = load(key, tmp_path, counts=False)
    guesses = guess_answers(items, 0)
    assert guesses == guess_answers(items.first(None), 0) and guesses.keys() == {item.id for item in items}
    assert all(parse_reply(item, guesses[item.id]) is not None for item in items)
    store = ReplyStore(tmp_path / "replies", {"benchmark": key})
    write_guesses(store, guesses)
    assert read_answers(store.path).replies == guesses


def test_the_guess_at_an_interval_is_the_whole_video_as_in_chance(tmp_path: Path):
    write_made_records("charadessta", tmp_path)
    items = load("charadessta", tmp_path, counts=False)
    assert score(items, guess_answers(items, 0)).number.mean == pytest.approx(chance(items)["mIoU"])
    (tmp_path / "Charades_v1_test.csv").unlink()
    unknown = load("charadessta", tmp_path, counts=False)
    assert score(unknown, guess_answers(unknown, 0)).counts.parsed == 0
