"""The sample gallery: what it says of each sample, and how it behaves in a real browser."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.report.test_item_browser import READY, ROWS, choose, count_text, search
from tests.support import ROOT
from tests.support.browser import Page, open_browser
from tests.support.frame_stores import to_manifest_row
from tests.support.videos import write_video
from videossr.cli import app
from videossr.clip import Clip
from videossr.dataset.build import build_train, build_viubench
from videossr.dataset.params import BenchSet, PretextParams, TrainSet
from videossr.dataset.samples import write_samples
from videossr.errors import BenchmarkError
from videossr.evaluation.benchmarks import load
from videossr.evaluation.downstream.evaluations import Evaluation
from videossr.evaluation.runner import samples_digest, score_reply, write_scored_replies
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.ingest.manifest import write_manifest
from videossr.pretext import Counting, Grounding, Jigsaw
from videossr.recipe import load_recipe
from videossr.records import FrameTimes, Sample, Video
from videossr.report.sample_gallery import choose_samples, describe_edit, write_gallery

HOSTILE = "<script>alert(1)</script>.mp4"
PARAMS = PretextParams(
    grounding=Grounding(num_frames=16, min_length=3, max_length=5),
    counting=Counting(num_frames=16, min_gap=2),
    jigsaw=Jigsaw(frames_per_clip_6=2, frames_per_clip_8=2),
    train=TrainSet(num_samples=60),
    viubench=BenchSet(per_column=3),
)
TIMES = tuple(map(float, np.arange(48) * 0.25 + 0.5))
STORE = {
    f"{i:016x}": Clip(np.random.default_rng(i).integers(0, 256, (48, 32, 64, 3), dtype=np.uint8), np.array(TIMES))
    for i in range(6)
}
VIDEOS = [FrameTimes(video_id, TIMES) for video_id in STORE]
NAMES = dict.fromkeys(STORE, HOSTILE)
PANE = "document.getElementById('item').textContent"


def bench() -> list[Sample]:
    return build_viubench(PARAMS, VIDEOS, STORE)


def evaluations(folder: Path, samples: Sequence[Sample]) -> dict[str, Evaluation]:
    """Before: the answer to each second question; after: to all of them. What is between is no reply in form."""
    write_samples(folder / "viubench.parquet", samples)
    items = load("viubench", folder, check=False, counts=False)
    right = {sample.sample_id: sample.answer for sample in samples}
    half = {sample.sample_id: sample.answer if n % 2 else "<b>no idea</b>" for n, sample in enumerate(samples)}
    return {
        name: Evaluation(Path(f"{name}.jsonl"), {"policy": name}, items, replies, {})
        for name, replies in (("before", half), ("after", right))
    }


def write(folder: Path, **sets: Sequence[Sample]) -> None:
    replies = evaluations(folder.parent / "samples", sets["viubench"]) if "viubench" in sets else {}
    write_gallery(folder, sets, replies, PARAMS.tasks, STORE, NAMES, width=256, progress=False)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.resize(1280, 800)
        yield opened


def open_item(page: Page, words: str) -> None:
    search(page, words)
    page.run(f"{ROWS}[0].click()")
    page.wait_for("document.querySelectorAll('.strip canvas[data-frame]').length > 0")


def test_samples_are_chosen_evenly_over_their_kinds():
    samples = [
        Sample(f"{kind}{n}", "jigsaw", kind, "v", {}, "", "12")
        for kind, count in (("6", 50), ("8", 4))
        for n in range(count)
    ]
    chosen = choose_samples(samples, 20)
    assert Counter(sample.variant for sample in chosen) == {"6": 16, "8": 4}
    assert chosen == [sample for sample in samples if sample in chosen]
    assert choose_samples(samples, 1000) == samples


def test_an_edit_is_described_for_each_task():
    rng = np.random.default_rng(0)
    names = {video.video_id: f"{n}.mp4" for n, video in enumerate(VIDEOS)}
    mirror = PARAMS.grounding.generate(VIDEOS[0], "mirror", rng)
    start, length = mirror.edit["start"], mirror.edit["length"]
    (sentence,) = describe_edit(mirror, names)
    assert sentence.endswith(f"frames {start + 1} to {start + length} of 16, {mirror.answer.replace('-', ' to ')} s")
    swap = PARAMS.grounding.generate(VIDEOS[0], "swap", rng, list(STORE))
    assert describe_edit(swap, names)[-1] == f"the frames are from {names[swap.edit['params']['donor']]}"
    counting = PARAMS.counting.generate(VIDEOS[0], "easy", rng)
    counted = Counter()
    for line in describe_edit(counting, names):
        number, kind = re.fullmatch(r"frame \d+: (\d+) ([a-z]+?)s?", line).groups()
        counted[kind] += int(number)
    assert [counted[kind] for kind in ("circle", "square", "triangle")] == list(map(int, counting.answer.split(",")))
    jigsaw = PARAMS.jigsaw.generate(VIDEOS[0], "6", rng)
    (sentence,) = describe_edit(jigsaw, names)
    assert f"clip {jigsaw.answer[0]} is part 1" in sentence


def test_equal_inputs_give_equal_bytes_and_no_text_of_a_file_stands_in_the_page(tmp_path: Path):
    files = []
    for name in ("a", "b"):
        write(tmp_path / name / "out", viubench=bench(), train=build_train(PARAMS, VIDEOS))
        folder = tmp_path / name / "out"
        files.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert files[0] == files[1]
    html = files[0][Path("index.html")].decode()
    assert "alert(1)" not in html and not re.search(r"https?://|//cdn|@import|<link", html)


def test_a_sample_plays_with_its_times_and_shows_its_answer_on_request(page: Page, tmp_path: Path):
    samples = bench()
    write(tmp_path / "out", viubench=samples)
    page.requests.clear()
    page.open(tmp_path / "out/index.html", READY)
    sample = next(each for each in samples if each.kind == "grounding/mirror")
    open_item(page, sample.sample_id)
    assert page.run("document.querySelectorAll('.strip canvas').length") == 16
    assert sample.answer not in page.run(PANE) and "before" not in page.run(PANE)
    assert page.run("document.querySelectorAll('.edited').length") == 0
    page.press("ArrowRight")
    caption = "document.querySelector('.stage figcaption').textContent"
    shown_seconds = PARAMS.tasks["grounding"].render(sample, STORE)[0].times
    assert page.run(caption) == f"{shown_seconds[1]:.2f} s, frame 2 of 16"
    assert page.run("document.querySelector('.stage canvas').dataset.frame") == "1"
    page.run("document.getElementById('speed').value = '2'")
    page.press(" ")
    page.wait_for("document.querySelector('.stage canvas').dataset.frame === '15'")
    page.wait_for("document.getElementById('play').textContent === 'play'")
    page.press("a")
    assert sample.answer in page.run(PANE) and "reward 1" in page.run(PANE)
    assert page.run("document.querySelectorAll('.strip .edited').length") == sample.edit["length"]
    folder = (tmp_path / "out").absolute().as_uri()
    assert page.requests and all(url.startswith(folder) for url in page.requests)
    assert page.messages == []


def test_the_clips_of_a_jigsaw_play_beside_each_other(page: Page, tmp_path: Path):
    samples = [each for each in bench() if each.kind == "jigsaw/6"]
    write(tmp_path / "out", viubench=samples)
    page.open(tmp_path / "out/index.html", READY)
    open_item(page, samples[0].sample_id)
    page.wait_for("document.querySelectorAll('.stage canvas[data-frame]').length === 6")
    captions = page.run("[...document.querySelectorAll('.stage figcaption')].map((c) => c.textContent)")
    assert captions[0] == "clip 1, 0.00 s, frame 1 of 2" and captions[5].startswith("clip 6")


def test_samples_are_filtered_by_set_task_variant_and_difficulty(page: Page, tmp_path: Path):
    samples, train = bench(), build_train(PARAMS, VIDEOS)
    write(tmp_path / "out", viubench=samples, train=train)
    page.open(tmp_path / "out/index.html", READY)
    assert count_text(page) == f"{len(samples) + len(train)} of {len(samples) + len(train)} items"
    options = "[...document.getElementById(%r).options].map((o) => [o.textContent, o.value])"
    choose(page, "benchmark", dict(page.run(options % "benchmark"))["viubench"])
    assert count_text(page).startswith(f"{len(samples)} of")
    tasks = dict(page.run(options % "group-task"))
    assert list(tasks) == ["task: all", "counting", "grounding", "jigsaw"]
    choose(page, "group-task", tasks["jigsaw"])
    choose(page, "group-variant", dict(page.run(options % "group-variant"))["jigsaw/8"])
    assert count_text(page).startswith("3 of")
    choose(page, "group-difficulty", dict(page.run(options % "group-difficulty"))["clips: 6"])
    assert count_text(page).startswith("0 of")
    choose(page, "group-task", "")
    choose(page, "group-variant", "")
    assert count_text(page).startswith("3 of")


def test_a_name_of_a_video_and_a_reply_are_text_and_never_markup(page: Page, tmp_path: Path):
    samples = bench()
    write(tmp_path / "out", viubench=samples)
    page.run("window.alert = () => { window.harm = true; }")
    page.open(tmp_path / "out/index.html", READY)
    open_item(page, samples[0].sample_id)
    page.press("a")
    assert HOSTILE in page.run(PANE) and "<b>no idea</b>" in page.run(PANE)
    assert page.run("window.harm === undefined && document.querySelectorAll('#item script, #item b b').length === 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_and_texts_have_contrast(page: Page, tmp_path: Path, scheme: str):
    samples = bench()
    write(tmp_path / "out", viubench=samples)
    page.use_scheme(scheme)
    page.resize(390, 800)
    try:
        page.open(tmp_path / "out/index.html", READY)
        page.run(f"{ROWS}[0].click()")
        page.wait_for("document.querySelectorAll('.stage canvas').length")
        page.press("a")
        assert page.cut_off() == []
        assert page.low_contrast() == []
    finally:
        page.resize(1280, 800)
        page.use_scheme("light")


@pytest.mark.slow
def test_two_thousand_samples_stay_responsive(page: Page, tmp_path: Path):
    train = choose_samples(build_train(replace(PARAMS, train=TrainSet(num_samples=2100)), VIDEOS), 2000)
    write(tmp_path / "out", train=train)
    page.open(tmp_path / "out/index.html", READY)
    assert count_text(page) == "2,000 of 2,000 items"
    seconds = page.run(
        """(() => { const timed = (act) => { const start = performance.now(); act(); document.body.offsetHeight;
        return (performance.now() - start) / 1000; };
        return [timed(() => { const field = document.getElementById('search'); field.value = '7';
        field.dispatchEvent(new Event('input')); }), timed(() => { list.scrollTop = 1e6; draw(); })]; })()"""
    )
    assert max(seconds) < 0.5, seconds
    page.press("End")
    page.wait_for("document.querySelectorAll('.strip canvas[data-frame]').length > 0")
    assert len(list((tmp_path / "out/data").glob("items-*.js"))) == 10


def test_the_command_shows_the_last_run_and_refuses_replies_to_other_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    samples, videos = write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["gallery", "--out", "gallery", "--count", "8"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and "16 samples: open gallery/index.html" in result.output
    details = [
        each
        for path in sorted(Path("gallery/data").glob("items-*.js"))
        for each in json.loads(path.read_text().partition(",")[2][:-2])
    ]
    assert all("source/80.mp4" in each["videos"][0] or HOSTILE in each["videos"][0] for each in details)
    assert sum(each["replies"][0]["asked"] for each in details) == 8
    assert all(each["strips"] and each["edit"] for each in details)
    write_replies(tmp_path, samples[1:])
    with pytest.raises(BenchmarkError, match="holds replies to other samples"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def write_project(folder: Path) -> tuple[list[Sample], list[Video]]:
    """Parameters, manifest, frames, samples and replies of a small run; one video has a hostile name."""
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (folder / "source" / HOSTILE).parent.mkdir(parents=True)
    paths = [write_video(folder / "source" / name, n) for name, n in ((HOSTILE, 60), ("80.mp4", 80))]
    videos = [to_manifest_row(path) for path in paths]
    write_manifest(folder / "data/manifest.parquet", videos)
    frames = FramesParams(num_frames=48, max_pixels=64 * 96, min_pixels=1024)
    assert write_store(videos, folder / "data/frames", frames, 0) == []
    store, params = FrameStore(folder / "data/frames"), load_recipe(folder / "params.yaml").pretext
    small = replace(params, train=replace(params.train, num_samples=30), viubench=BenchSet(per_column=2))
    samples = build_viubench(small, store.frame_times(), store)
    write_samples(folder / "data/samples/train.parquet", build_train(small, store.frame_times()))
    write_samples(folder / "data/samples/viubench.parquet", samples)
    write_replies(folder, samples)
    return samples, videos


def write_replies(folder: Path, samples: Sequence[Sample]) -> None:
    header = {"samples": samples_digest(samples), "policy": "p"}
    scored = [score_reply(sample, sample.answer) for sample in samples]
    for name in ("before", "after"):
        write_scored_replies(folder / f"reports/evaluate/{name}.jsonl", scored, header)
