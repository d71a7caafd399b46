"""The training set and VIUBench: the proportions, no duplicate samples, and the same samples on every machine."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import ROOT
from videossr import config
from videossr.dataset.build import build_train, build_viubench
from videossr.dataset.params import VIUBENCH, BenchSet, PretextParams, TrainSet
from videossr.dataset.samples import read_samples, write_samples
from videossr.errors import ConfigError, SourceError
from videossr.evaluation.viubench import COLUMNS
from videossr.pretext import TASKS, Counting, Grounding, Jigsaw
from videossr.records import FrameTimes, Sample

SMALL = PretextParams(
    grounding=Grounding(num_frames=16, min_length=3, max_length=5),
    counting=Counting(num_frames=16, min_gap=2),
    jigsaw=Jigsaw(frames_per_clip_6=4, frames_per_clip_8=2),
    train=TrainSet(num_samples=300),
    viubench=BenchSet(per_column=12),
)


def make_videos(count: int, seconds: float = 9.0) -> list[FrameTimes]:
    return [FrameTimes(f"{i:016x}", tuple(np.linspace(1, 1 + seconds, 48).tolist())) for i in range(count)]


def count_kinds(samples: list) -> Counter:
    return Counter(sample.kind for sample in samples)


def test_the_default_mixture_is_that_of_videossr_30k() -> None:
    samples = build_train(replace(SMALL, train=TrainSet(num_samples=300)), make_videos(300))
    assert count_kinds(samples) == {
        "grounding/channel_swap": 30,
        "grounding/mirror": 30,
        "grounding/zoom_out": 30,
        "grounding/rotate_180": 30,
        "counting/easy": 60,
        "jigsaw/6": 120,
    }
    assert PretextParams().train.num_samples == 30000


def test_rounded_shares_sum_to_the_number_of_samples() -> None:
    mixture = {"grounding/slow": 1.0, "counting/hard": 1.0, "jigsaw/8": 1.0, "grounding/swap": 0.0}
    samples = build_train(replace(SMALL, train=TrainSet(100, mixture)), make_videos(40))
    assert sum(count_kinds(samples).values()) == 100
    assert set(count_kinds(samples)) == {"grounding/slow", "counting/hard", "jigsaw/8"}
    assert set(count_kinds(samples).values()) == {33, 34}


def test_every_video_is_used_equally_often() -> None:
    used = Counter(sample.video_id for sample in build_train(SMALL, make_videos(300)))
    assert set(used.values()) == {1} and len(used) == 300
    used = Counter(sample.video_id for sample in build_train(SMALL, make_videos(70)))
    assert set(used.values()) <= {4, 5} and len(used) == 70


def test_viubench_has_equally_many_questions_in_each_column_in_order() -> None:
    samples = build_viubench(SMALL, make_videos(20))
    assert list(count_kinds(samples)) == list(VIUBENCH) == [f"{task}/{variant}" for task, variant in COLUMNS.values()]
    assert set(count_kinds(samples).values()) == {12}


def test_sample_ids_and_edits_are_unique() -> None:
    samples = build_train(SMALL, make_videos(7)) + build_viubench(SMALL, make_videos(7))
    assert len({sample.sample_id for sample in samples}) == len(samples) == 300 + 9 * 12
    for part in (samples[:300], samples[300:]):
        assert len({(s.video_id, s.task, s.variant, json.dumps(s.edit, sort_keys=True)) for s in part}) == len(part)


def test_too_few_different_edits_give_fewer_samples_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    params = replace(SMALL, train=TrainSet(500, {"grounding/mirror": 1.0}))
    samples = build_train(params, make_videos(2))
    most = 2 * sum(16 - length + 1 for length in (3, 4, 5))
    assert 0.8 * most < len(samples) <= most
    assert f"only {len(samples)} of 500 'grounding/mirror' samples: 2 videos allow no more" in caplog.text


def test_neither_the_order_of_the_videos_nor_the_process_changes_a_sample() -> None:
    samples = build_train(SMALL, make_videos(9))
    assert build_train(SMALL, make_videos(9)[::-1]) == samples
    program = (
        "from tests.dataset.test_build import *; import hashlib\n"
        "print(hashlib.sha256(repr(build_train(SMALL, make_videos(9))).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def fingerprint(samples: list) -> str:
    return hashlib.sha256(json.dumps([asdict(sample) for sample in samples], sort_keys=True).encode()).hexdigest()[:16]


def test_a_seed_gives_the_same_samples_in_every_version() -> None:
    mixture = dict.fromkeys((f"{name}/{variant}" for name, cls in TASKS.items() for variant in cls.variants), 1.0)
    assert fingerprint(build_train(replace(SMALL, train=TrainSet(400, mixture)), make_videos(30))) == "5ac111d2b28e6076"
    assert fingerprint(build_viubench(SMALL, make_videos(5))) == "ed9c539d7c00711e"


def test_worker_processes_do_not_change_a_sample() -> None:
    params = replace(SMALL, train=TrainSet(10_000, {"jigsaw/6": 5.0, "grounding/mirror": 2.0, "counting/easy": 0.2}))
    samples = build_train(params, make_videos(300), workers=2)
    assert samples == build_train(params, make_videos(300)) and len(samples) == 10_000


def test_another_seed_gives_other_samples_and_train_and_bench_differ() -> None:
    assert build_train(replace(SMALL, seed=1), make_videos(9)) != build_train(SMALL, make_videos(9))
    edits = [{json.dumps(s.edit) for s in build(SMALL, make_videos(9))} for build in (build_train, build_viubench)]
    assert edits[0] != edits[1]


def test_the_donors_of_swaps_are_the_given_videos() -> None:
    samples = build_train(replace(SMALL, train=TrainSet(60, {"grounding/swap": 1.0})), make_videos(5))
    ids = {video.video_id for video in make_videos(5)}
    assert {sample.edit["params"]["donor"] for sample in samples} == ids
    assert all(sample.edit["params"]["donor"] != sample.video_id for sample in samples)


def test_samples_are_read_as_they_were_written_and_no_temporary_file_remains(tmp_path: Path) -> None:
    samples = build_viubench(SMALL, make_videos(5))
    path = tmp_path / "samples" / "viubench.parquet"
    write_samples(path, samples)
    assert read_samples(path) == samples
    assert [file.name for file in path.parent.iterdir()] == ["viubench.parquet"]
    names = ["sample_id", "task", "variant", "video_id", "edit", "question", "answer"]
    assert pq.read_table(path).column_names == names


def test_a_file_without_samples_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no parquet")
    (tmp_path / "folder.parquet").mkdir()
    pq.write_table(pa.table({"path": ["a.mp4"]}), tmp_path / "list.parquet")
    pq.write_table(pa.table({name: ["{"] for name in Sample.__dataclass_fields__}), tmp_path / "edit.parquet")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(SourceError, match=rf"{path.name} holds no samples: name a file that"):
            read_samples(path)


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_samples(tmp_path / name, build_train(SMALL, make_videos(5)))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_videos_that_are_too_short_are_not_used_and_the_warning_counts_them(caplog: pytest.LogCaptureFixture) -> None:
    blink = FrameTimes("blink", tuple(np.linspace(0, 0.1, 48)))
    samples = build_train(SMALL, [*make_videos(9), blink])
    assert "blink" not in {sample.video_id for sample in samples}
    assert "1 of 10 videos are too short" in caplog.text


def test_no_usable_video_is_a_clear_error() -> None:
    for videos in ([], [FrameTimes("blink", tuple(np.linspace(0, 0.1, 48)))]):
        with pytest.raises(SourceError, match=f"none of {len(videos)} is: add videos"):
            build_viubench(SMALL, videos)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"train": {"mixture": {"jigsaw/7": 1}}}, "unknown kind 'jigsaw/7': accepted are grounding/saturation"),
        ({"train": {"mixture": {"jigsaw/6": 0}}}, "shares of at least 0 and one above 0"),
        ({"train": {"mixture": {"jigsaw/6": -1, "jigsaw/8": 2}}}, "shares of at least 0"),
        ({"train": {"num_samples": 0}}, "num_samples must be at least 1"),
        ({"viubench": {"per_column": 0}}, "per_column must be at least 1"),
        ({"jigsaw": {"frames_per_clp_6": 4}}, "did you mean 'frames_per_clip_6'"),
    ],
)
def test_the_error_for_a_wrong_parameter_names_it(section: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.build(PretextParams, section, "pretext")


@pytest.mark.slow
def test_thirty_thousand_samples_keep_the_papers_numbers() -> None:
    samples = build_train(PretextParams(), make_videos(30000))
    assert len(samples) == len({sample.video_id for sample in samples}) == 30000
