"""The benchmarks of the embedded default: published schemas, right answers, and the same bytes for the same seed."""

from pathlib import Path

import numpy as np
import pytest

from videossr.decode import probe_video
from videossr.evaluation import load
from videossr.evaluation.benchmarks import Items, chance, find_videos, score
from videossr.evaluation.made_benchmarks import COLOURS, KEYS, MadeVideo, draw_made_video, make_benchmarks
from videossr.ingest.synthetic import SyntheticParams, draw_video

SCENES = SyntheticParams(num_videos=6, min_seconds=3.0, max_seconds=4.0, size_pixels=64)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "benchmarks"
    make_benchmarks(folder, 3, SCENES)
    return folder


@pytest.fixture(scope="module")
def videos() -> list[MadeVideo]:
    return [draw_made_video(3, number, SCENES) for number in range(SCENES.num_videos)]


def load_made(folder: Path, key: str) -> Items:
    return load(key, folder / key, counts=False)


def colours_in(video: MadeVideo) -> set[str]:
    return {balloon.colour for balloon in video.balloons}


def video_of(path: Path, folder: Path, videos: list[MadeVideo]) -> MadeVideo:
    """The made video whose file has the bytes of `path`."""
    return next(v for v in videos if (folder / "charadessta" / f"{v.name}.mp4").read_bytes() == path.read_bytes())


@pytest.mark.parametrize("key", KEYS)
def test_every_set_loads_without_a_fault_and_has_all_its_videos(made: Path, key: str):
    items = load_made(made, key)
    found = find_videos(items, made / key)
    assert items.faults == () and found.missing == () and found.num_videos >= SCENES.num_videos
    assert score(items, {item.id: item.answer for item in items}, num_resamples=10).number.mean == pytest.approx(100)
    assert 0 < chance(items)[items.benchmark.metric] < 60


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(made: Path, tmp_path: Path):
    make_benchmarks(tmp_path / "again", 3, SCENES)
    make_benchmarks(tmp_path / "other", 4, SCENES)
    files = [path.relative_to(made) for path in sorted(made.rglob("*")) if path.is_file()]
    assert [(tmp_path / "again" / name).read_bytes() for name in files] == [
        (made / name).read_bytes() for name in files
    ]
    name = Path("charadessta/M0000.mp4")
    assert (tmp_path / "other" / name).read_bytes() != (made / name).read_bytes()


def test_a_balloon_of_its_colour_is_in_the_picture_within_its_window_alone(videos: list[MadeVideo]):
    for number, video in enumerate(videos):
        landscape = draw_video(SCENES, 3, 1_000_000 + number)
        changed = np.any(video.frames != landscape, axis=3)
        for balloon in video.balloons:
            for frame in range(balloon.start, balloon.stop):
                colours = video.frames[frame][changed[frame]]
                assert (colours == COLOURS[balloon.colour]).all(axis=1).sum() > 0.04 * changed[frame].size
        windows = {f for balloon in video.balloons for f in range(balloon.start, balloon.stop)}
        assert set(np.flatnonzero(changed.any(axis=(1, 2))).tolist()) == windows


def test_a_window_is_in_the_times_of_the_file(made: Path, videos: list[MadeVideo]):
    items = load_made(made, "charadessta")
    for video, pair in zip(videos, zip(items[::2], items[1::2], strict=True), strict=True):
        times = probe_video(made / "charadessta" / f"{video.name}.mp4").times
        assert len(times) == len(video.frames)
        for balloon, item in zip(video.balloons, pair, strict=True):
            assert balloon.colour in item.question
            assert item.windows[0] == pytest.approx((times[balloon.start], times[balloon.stop]), abs=0.051)


def test_the_right_option_is_the_colour_of_the_first_or_last_balloon(made: Path, videos: list[MadeVideo]):
    by_name = {video.name: video for video in videos}
    for item in load_made(made, "videomme"):
        balloons = by_name[Path(item.videos[0].path).stem].balloons
        colour = balloons[0 if "comes first" in item.question else 1].colour
        assert item.options[item.labels.index(item.answer)] == f"{colour.capitalize()}."


def test_questions_about_several_videos_have_the_answer_that_their_balloons_give(made: Path, videos: list[MadeVideo]):
    items = load_made(made, "cvbench")
    for item in items:
        colour = next(colour for colour in COLOURS if f" {colour} balloon" in item.question)
        shown = [colour in colours_in(video_of(made / "cvbench" / ref.path, made, videos)) for ref in item.videos]
        if item.kind == "yes_no":
            assert item.answer == ("Yes" if all(shown) else "No")
        else:
            assert sum(shown) == 1 and item.labels.index(item.answer) == shown.index(True)
    assert {item.kind for item in items} == {"yes_no", ""}
