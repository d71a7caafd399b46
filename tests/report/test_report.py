"""The report: its sentences, charts and contact sheets, and one page that needs no other file."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.test_benchmark_tables import run
from tests.support.browser import Page, open_browser
from tests.support.ingesting import ingest_source
from videossr.clip import Clip
from videossr.dataset.build import build_train, build_viubench
from videossr.dataset.params import BenchSet, PretextParams, TrainSet
from videossr.dataset.samples import write_samples
from videossr.errors import ConfigError, VideoSSRError
from videossr.evaluation import baselines, viubench
from videossr.evaluation.runner import score_reply, write_scored_replies
from videossr.frames.sampling import FramesParams
from videossr.frames.writing import write_store
from videossr.ingest.manifest import write_manifest
from videossr.ingest.params import IngestParams
from videossr.pretext import Counting, Grounding, Jigsaw
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.records import FrameTimes, RejectedFile, Sample, ScoredReply, Video
from videossr.report import charts, text
from videossr.report.contact_sheets import ContactSheet, MissingSheet, draw_sheets
from videossr.report.inputs import ReportInputs, load_inputs
from videossr.report.page import render_page
from videossr.report.params import ReportParams
from videossr.report.writing import write_report
from videossr.storage.quarantine import write_quarantine

HOSTILE = '<script>alert("x")</script> & <img src=x onerror=y>.mp4'
PARAMS = PretextParams(
    grounding=Grounding(num_frames=16, min_length=3, max_length=5),
    counting=Counting(num_frames=16, min_gap=2),
    jigsaw=Jigsaw(frames_per_clip_6=2, frames_per_clip_8=2),
    train=TrainSet(num_samples=100),
    viubench=BenchSet(per_column=10),
)
TIMES = tuple(map(float, np.arange(48) * 0.25 + 0.5))
# The pixels are noise, so that every edit is visible.
STORE = {
    f"{i:016x}": Clip(np.random.default_rng(i).integers(0, 256, (48, 32, 64, 3), dtype=np.uint8), np.array(TIMES))
    for i in range(12)
}
STORED_VIDEOS = [FrameTimes(video_id, TIMES) for video_id in STORE]
BENCH_IDS = list(STORE)[:8]
CURVES: dict[str, Any] = {
    "warmup": [{"step": step, "loss": 2.0 / (1 + step)} for step in range(40)],
    "grpo": [
        {"step": step, "reward": 0.3 + step / 100, "reward/grounding": 0.2, "skill/jigsaw": 0.1, "kl": 0.01}
        for step in range(30)
    ],
}
GATE: dict[str, Any] = {
    "success": True,
    "checks": [{"table": "manifest"}, {"table": "train"}],
    "failures": [],
    "warnings": [{"table": "renders", "expectation": "edits can be seen", "rows": ["a"], "detail": "1 of 16 rows"}],
}


DOWNSTREAM: dict[str, Any] = {**dict(zip(("rows", "gains"), run(), strict=True)), "made": True, "frames": 12}


def scored(samples: Sequence[Sample], right: float, seed: int) -> list[ScoredReply]:
    """Scored replies: right with probability `right`, else a text that the page must escape."""
    rng = np.random.default_rng(seed)
    return [score_reply(s, s.answer if rng.random() < right else HOSTILE) for s in samples]


def results(by_name: dict[str, list[ScoredReply]]) -> dict[str, Any]:
    options = {"bootstrap_samples": 200, "seed": 0}
    rows = {name: viubench.summarise(items, **options) for name, items in by_name.items()}
    return {
        "columns": list(viubench.COLUMNS),
        "rows": rows,
        "gain": viubench.gain(by_name["before"], by_name["after"], **options),
    }


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    bench_videos = [item for item in STORED_VIDEOS if item.video_id in BENCH_IDS]
    train_videos = [item for item in STORED_VIDEOS if item.video_id not in BENCH_IDS]
    bench = build_viubench(PARAMS, bench_videos)
    guesses = baselines.random_answers(bench, STORED_VIDEOS, 0)
    by_name = {
        "random": [score_reply(s, reply) for s, reply in zip(bench, guesses, strict=True)],
        "constant": scored(bench, 0.2, 1),
        "blind": scored(bench, 0.2, 4),
        "before": scored(bench, 0.3, 2),
        "after": scored(bench, 0.8, 3),
    }
    return ReportInputs(
        videos=[
            Video(name, f"{name}.mp4", "h264", 64, 32, 12.0, 14.0, 168, "bench" if name in BENCH_IDS else "train")
            for name in STORE
        ],
        rejected=[RejectedFile(HOSTILE, "too_short", "2 frames"), RejectedFile("b.mp4", "not_a_video")],
        train=build_train(PARAMS, train_videos),
        bench=bench,
        stored_videos=STORED_VIDEOS,
        store=STORE,
        gate=GATE,
        curves=CURVES,
        results=results(by_name),
        scored=by_name,
        downstream=DOWNSTREAM,
    )


@pytest.fixture(scope="module")
def reports(inputs: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    assert write_report(inputs, PARAMS.tasks, ReportParams(), folder) == folder / "index.html"
    return folder


@pytest.fixture(scope="module")
def page(reports: Path) -> str:
    return (reports / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sheets(inputs: ReportInputs) -> list[ContactSheet]:
    drawn = draw_sheets(
        PARAMS.tasks,
        inputs.bench,
        inputs.bench_videos,
        STORE,
        inputs.scored,
        seed=0,
        frames_per_strip=16,
        thumbnail_pixels=64,
    )
    return [sheet for sheet in drawn if isinstance(sheet, ContactSheet)]


@dataclass
class Outline(HTMLParser):
    """The links and tags of a page; checks that every tag is closed in order."""

    links: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    open_tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "source", "link", "br"):
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag, f"</{tag}> closes another tag"


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    assert parsed.open_tags == []
    return parsed


def test_the_page_needs_no_other_file_no_network_and_no_script(page: str) -> None:
    parsed = outline(page)
    assert "script" not in parsed.tags and "link" not in parsed.tags and "iframe" not in parsed.tags
    siblings = {"gate.html", "viubench.json", "train.json"}
    siblings |= {f"ablations/{name}.html" for name in ("table4", "figure5", "figure6")}
    assert all(link.startswith(("data:image/", "#")) or link in siblings for link in parsed.links)
    assert "@import" not in page and "url(" not in page
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(re.findall(r'id="([\w-]+)"', page))


def test_text_from_files_and_models_is_escaped(page: str) -> None:
    assert "<script>" not in page and "onerror=y>" not in page
    assert "&lt;script&gt;" in page


def test_every_variant_of_every_task_is_drawn_with_its_answer(sheets: list[ContactSheet], page: str) -> None:
    expected = [(name, variant) for name, task in PARAMS.tasks.items() for variant in task.variants]
    assert [(sheet.sample.task, sheet.sample.variant) for sheet in sheets] == expected
    assert len([variant for task, variant in expected if task == "grounding"]) == len(PERTURBATIONS) == 17
    assert page.count('class="sheet"') == len(expected)
    assert all(f"<code>{sheet.sample.answer}</code>" in page for sheet in sheets)


def test_the_frames_marked_as_edited_are_those_that_differ_from_the_clean_clip(sheets: list[ContactSheet]) -> None:
    for sheet in sheets:
        clean = PARAMS.tasks[sheet.sample.task].render_clean(sheet.sample, STORE)
        if sheet.sample.task == "jigsaw":
            continue
        thumbnails = sheet.clips[0]
        assert 0 < sum(thumbnail.is_edited for thumbnail in thumbnails) < len(thumbnails) == 16
        pairs = list(zip(thumbnails, clean[0].frames, strict=True))
        if not _moves_later_frames(sheet):
            assert all((thumbnail.frame == frame).all() for thumbnail, frame in pairs if not thumbnail.is_edited)
        if sheet.sample.variant not in ("slow", "fast", "stutter_hold", "shuffle"):
            assert all((thumbnail.frame != frame).any() for thumbnail, frame in pairs if thumbnail.is_edited), (
                sheet.sample.variant
            )


def _moves_later_frames(sheet: ContactSheet) -> bool:
    # A change of pace also moves every frame after the interval.
    return sheet.sample.variant in ("slow", "fast")


def test_a_jigsaw_is_also_shown_in_the_order_of_the_video(sheets: list[ContactSheet]) -> None:
    for sheet in (sheet for sheet in sheets if sheet.sample.task == "jigsaw"):
        clean = PARAMS.jigsaw.render_clean(sheet.sample, STORE)
        solved = [thumbnails for _, thumbnails in sheet.clips_in_order]
        assert all(
            (thumbnails[0].frame == clip.frames[0]).all() for thumbnails, clip in zip(solved, clean, strict=True)
        )


def test_the_sheet_of_a_viubench_question_has_its_replies_and_bars(sheets: list[ContactSheet]) -> None:
    by_variant = {(sheet.sample.task, sheet.sample.variant): sheet for sheet in sheets}
    for column in viubench.COLUMNS.values():
        assert set(by_variant[column].replies) == {"random", "constant", "blind", "before", "after"}
    mirror = by_variant["grounding", "mirror"]
    first = mirror.bars[0]
    thumbnails = mirror.clips[0]
    edited = [place for place, thumbnail in enumerate(thumbnails) if thumbnail.is_edited]
    assert first.source == "answer"
    assert first.left == pytest.approx(100 * edited[0] / 16, abs=1)
    assert first.width == pytest.approx(100 * len(edited) / 16, abs=1.5)


def test_the_seed_chooses_the_samples_of_the_sheets(inputs: ReportInputs) -> None:
    def chosen(seed: int) -> list[str]:
        options = {"frames_per_strip": 4, "thumbnail_pixels": 16}
        args = (PARAMS.tasks, inputs.bench, inputs.bench_videos, STORE, {})
        return [s.sample.answer for s in draw_sheets(*args, seed=seed, **options) if isinstance(s, ContactSheet)]

    assert chosen(0) == chosen(0) != chosen(1)


def test_a_long_clip_is_subsampled_but_keeps_every_frame_with_a_shape(inputs: ReportInputs) -> None:
    options = {"seed": 0, "frames_per_strip": 8, "thumbnail_pixels": 24}
    drawn = draw_sheets(PARAMS.tasks, inputs.bench, inputs.bench_videos, STORE, {}, **options)
    for sheet in (sheet for sheet in drawn if isinstance(sheet, ContactSheet) and sheet.sample.task == "counting"):
        shapes = {shape["frame"] for shape in sheet.sample.edit["shapes"]}
        assert sum(thumbnail.is_edited for thumbnail in sheet.clips[0]) == len(shapes)
        assert all(max(thumbnail.frame.shape) == 24 for thumbnail in sheet.clips[0])


def test_a_variant_that_the_parameters_cannot_show_is_named_with_the_reason(inputs: ReportInputs) -> None:
    tasks = {"grounding": Grounding()}  # shows all 48 stored frames: nothing is left for a change of pace
    drawn = draw_sheets(tasks, [], inputs.bench_videos, STORE, {}, seed=0, frames_per_strip=16, thumbnail_pixels=16)
    missing = {item.variant: item.reason for item in drawn if isinstance(item, MissingSheet)}
    assert missing.keys() == {"slow", "fast"}
    assert "stored frames" in missing["slow"]
    assert "Slow is not shown" in render_page("t", inputs, drawn)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_or_hard_to_read(browser: Page, reports: Path, width: int, scheme: str) -> None:
    browser.resize(width, 900)
    browser.use_scheme(scheme)
    browser.open(reports / "index.html")
    assert browser.cut_off() == [] and browser.low_contrast() == [] and browser.messages == []
    assert width < 1280 or browser.scrolled() == []


def test_curves_and_scores_are_written_for_dvc(reports: Path) -> None:
    grpo, scores = ((reports / "plots" / name).read_text().splitlines() for name in ("grpo.csv", "scores.csv"))
    assert len(grpo) == 31 and grpo[0] == "step,kl,reward,reward/grounding,skill/jigsaw"
    assert grpo[2] == "1,0.01,0.31,0.2,0.1"
    assert scores[0] == "column,score" and scores[-1].startswith("overall,")
    heading, *benchmarks = csv.reader((reports / "plots/benchmarks.csv").read_text().splitlines())
    after = DOWNSTREAM["rows"]["after"]
    assert heading == ["benchmark", "score"] and len(benchmarks) == len(after)
    first = next(iter(after.values()))
    assert benchmarks[0] == [f"{first['title']}, {first['metric']}", str(first["columns"][first["metric"]]["mean"])]


def test_the_figures_are_written_as_images(reports: Path) -> None:
    names = {path.name for path in (reports / "figures").iterdir()}
    assert names == {"viubench.png", "training.png", "replies.png"} | {f"samples_{task}.png" for task in PARAMS.tasks}
    assert all((reports / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_equal_inputs_give_equal_bytes(inputs: ReportInputs) -> None:
    draw = charts.viubench_bars(inputs.results)
    assert charts.svg(draw, charts.DARK) == charts.svg(draw, charts.DARK) != charts.svg(draw, charts.LIGHT)
    assert charts.png(charts.viubench_bars(inputs.results)) == charts.png(charts.viubench_bars(inputs.results))


def test_the_page_shows_counts_reasons_scores_and_the_source_of_the_paper(inputs: ReportInputs, page: str) -> None:
    assert "12 usable videos" in page and "4 are for training, 8 for the benchmark" in page
    assert "too short" in page and "2 frames" in page and "not a video" in page
    for row in inputs.results["rows"].values():
        assert f"{row['overall']:.1f}" in page
    assert "arXiv 2511.06281v1" in page and "Not the same test" in page
    assert "The gate passed" in page and "edits can be seen" in page


def test_the_verdict_claims_no_more_than_the_interval_of_the_gain_allows(inputs: ReportInputs) -> None:
    measured = inputs.results
    assert text.verdict(measured).startswith("Training helped: +")
    assert "can explain" in text.verdict(_with_gain(measured, 0.4, [-1.0, 1.8], False))
    worse = _with_gain(measured, -3.0, [-4.0, -2.0], True)
    assert text.verdict(worse).startswith("Training made the model worse: −3.0")
    assert "has 8 videos" in (text.caution(measured) or "")


def test_results_on_five_videos_claim_nothing(inputs: ReportInputs) -> None:
    scored_of_five = {name: [i for i in items if i.video_id in BENCH_IDS[:5]] for name, items in inputs.scored.items()}
    of_five = results(scored_of_five)
    assert "cannot be distinguished from chance" in text.verdict(of_five)
    assert "cannot be distinguished from chance" in text.columns_moved(of_five)
    html = render_page("t", replace(inputs, results=of_five), [])
    assert "too few videos" in html and not re.search(r"(?<!\d)0\.0–100\.0", html)


def test_a_policy_no_better_than_a_constant_is_not_said_to_use_the_video(inputs: ReportInputs) -> None:
    changed = json.loads(json.dumps(inputs.results))
    changed["rows"]["constant"]["overall"] = changed["rows"]["after"]["overall"] + 1
    assert "may not use the video" in text.against_blind(changed)
    changed["rows"]["constant"]["overall"] = changed["rows"]["after"]["ci95"]["overall"][0] + 0.01
    assert "95 % interval includes that score" in text.against_blind(changed)
    changed["rows"]["constant"]["overall"] = changed["rows"]["after"]["ci95"]["overall"][0] - 0.01
    assert "so it uses the video" in text.against_blind(changed)


def test_a_column_whose_replies_have_collapsed_to_one_constant_has_a_warning(inputs):
    after = [replace(item, reply="3,3,3") if item.task == "counting" else item for item in inputs.scored["after"]]
    assert "One reply to every video" not in render_page("t", inputs, [])
    page = render_page("t", replace(inputs, scored={**inputs.scored, "after": after}), [])
    assert page.count("One reply to every video") == 2
    assert "Counting easy: 100.0\N{NO-BREAK SPACE}% of the replies after training are &#39;3,3,3&#39;" in page


@pytest.mark.parametrize("curves", [{}, {"warmup": [], "grpo": []}, {"grpo": [{"step": 1, "reward": 0.5}]}])
def test_curves_that_were_not_logged_are_not_drawn(inputs: ReportInputs, curves: dict[str, Any]) -> None:
    html = render_page("t", replace(inputs, curves=curves), [])
    assert "There was no warm start" in html
    assert ('alt="Loss and reward' in html) == bool(curves.get("grpo"))
    assert 'alt="How the replies changed' not in html and "can go wrong" not in html


@pytest.mark.parametrize(("theme", "card"), [(charts.LIGHT, "#ffffff"), (charts.DARK, "#1b1f25")])
def test_every_colour_of_a_mark_can_be_told_from_the_page(theme: charts.Theme, card: str) -> None:
    """WCAG 1.4.11: graphical objects have a contrast of at least 3 with what is beside them."""
    colours = {**theme.rows, **theme.tasks, "edited": theme.edited}
    low = {name: colour for name, colour in colours.items() if contrast(colour, card) < 3}
    assert low == {}


def test_the_page_and_its_charts_use_the_same_colours(page: str) -> None:
    for theme in (charts.LIGHT, charts.DARK):
        for name, colour in theme.rows.items():
            assert f"--{name}: {colour}" in page


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours `#rrggbb`, 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((luminance(colour) for colour in (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_steps_that_taught_nothing_are_marked_on_the_page(inputs: ReportInputs) -> None:
    sentence = "steps 1 to 9 taught nothing: <b>raise</b> it"
    html = render_page("t", replace(inputs, curves={**CURVES, "warnings": [sentence]}), [])
    assert "Training went nowhere:</b> steps 1 to 9 taught nothing: &lt;b&gt;raise" in html
    assert "Training went nowhere" not in render_page("t", inputs, [])


def drawn_panels(curves: dict[str, Any]) -> list[tuple[str, list[str], int]]:
    """Title, legend and number of lines of each drawn panel of `REPLY_PANELS`."""
    draw = charts.small_multiples(charts.REPLY_PANELS, curves)
    assert draw is not None
    panels = [axes for axes in draw(charts.LIGHT).axes if axes.lines]
    legends = [axes.get_legend() for axes in panels]
    names = [[text.get_text() for text in legend.get_texts()] if legend else [] for legend in legends]
    return [(axes.get_title(loc="left"), name, len(axes.lines)) for axes, name in zip(panels, names, strict=True)]


def test_length_kl_and_entropy_are_drawn_by_task_and_described_in_the_alternative_text(inputs: ReportInputs) -> None:
    values = {f"{name}/{task}": 4.0 for name in ("length", "kl", "entropy") for task in charts.TASK_NAMES}
    curves = {"grpo": [{"step": step, **values, "length/jigsaw": 9.0 - step, "kl": 7.0} for step in range(6)]}
    tasks = [task.capitalize() for task in charts.TASK_NAMES]
    titles = ["Length of replies, tokens", "KL from the start of GRPO, nats per token", "Entropy, nats per token"]
    assert drawn_panels(curves) == [(title, tasks, 6) for title in titles]
    html = render_page("t", replace(inputs, curves=curves), [])
    assert "Length of replies, tokens: grounding 4 to 4, counting 4 to 4, jigsaw 9 to 4; KL from" in html


def test_a_run_without_some_curves_draws_the_others(inputs: ReportInputs) -> None:
    kl_only = {"grpo": [{"step": step, "kl": 0.5} for step in range(6)]}
    assert drawn_panels(kl_only) == [("KL from the start of GRPO, nats per token", [], 2)]
    no_kl = {"grpo": [{"step": step, "length/counting": 5.0, "entropy": float("nan")} for step in range(6)]}
    assert drawn_panels(no_kl) == [("Length of replies, tokens", ["Counting"], 2)]
    html = render_page("t", replace(inputs, curves=no_kl), [])
    assert "A length that falls" in html and "A KL that" not in html and "An entropy" not in html


def test_the_report_states_by_how_much_the_loss_depends_on_the_video() -> None:
    assert any(
        "at least 0.38 nats" in sentence
        for sentence in text.training_sentences({**CURVES, "vision_sensitivity_nats": 0.375})
    )
    assert not any("nats" in sentence for sentence in text.training_sentences(CURVES))


def test_a_curve_is_drawn_from_the_rows_that_have_it() -> None:
    rows = [{"step": 1, "loss": 3.0}, {"step": 2, "reward": 1.0}, {"step": 3, "loss": None}, {"step": 4, "loss": 1.0}]
    rows.append({"step": 5, "loss": float("nan")})
    assert text.series(rows, "loss") == [(1, 3.0), (4, 1.0)]


@pytest.mark.parametrize("values", [{"frames_per_strip": 1}, {"thumbnail_pixels": 2}, {"seed": -1}])
def test_parameters_out_of_range_raise_an_error_that_names_them(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        ReportParams(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def project(inputs: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project as the stages write it: three generated videos and their frames, samples and scores."""
    root = tmp_path_factory.mktemp("project")
    source = root / "made.yaml"
    source.write_text("{num_videos: 3, min_seconds: 5.0, max_seconds: 5.5, size_pixels: 96, fps: 12}")
    inventory = ingest_source(IngestParams(str(source)), root / "data" / "made_videos", workers=1)
    write_manifest(root / "data" / "manifest.parquet", inventory.videos)
    write_quarantine(root / "data" / "quarantine.parquet", [RejectedFile("a.mp4", "corrupt")])
    write_store(inventory.videos, root / "data" / "frames", FramesParams(max_pixels=4096, min_pixels=1024), workers=1)
    write_samples(root / "data" / "samples" / "train.parquet", inputs.train)
    write_samples(root / "data" / "samples" / "viubench.parquet", inputs.bench)
    for name, items in inputs.scored.items():
        write_scored_replies(root / "reports" / "evaluate" / f"{name}.jsonl", items, {"policy": name})
    for name, content in (
        ("viubench", inputs.results),
        ("train", CURVES),
        ("gate", GATE),
        ("downstream", DOWNSTREAM),
    ):
        (root / "reports" / f"{name}.json").write_text(json.dumps(content))
    return root


def test_the_inputs_are_read_from_the_outputs_of_the_stages(project: Path, inputs: ReportInputs) -> None:
    loaded = load_inputs(project)
    assert len(loaded.videos) == len(loaded.stored_videos) == 3 and len(loaded.bench_videos) in (1, 2)
    assert [item.path for item in loaded.rejected] == ["a.mp4"]
    assert list(loaded.bench) == list(inputs.bench) and loaded.scored == inputs.scored
    assert (loaded.gate, loaded.curves, loaded.results) == (GATE, CURVES, inputs.results)
    assert loaded.downstream == DOWNSTREAM


def test_the_tables_of_other_benchmarks_are_shown_and_made_questions_are_marked(
    inputs: ReportInputs, page: str
) -> None:
    assert 'id="benchmarks"' in page and "Made questions." in page
    assert page.count('<i class="tag">published</i>') == 4 * 6  # four rows in each of the six tables
    none = replace(inputs, downstream={**DOWNSTREAM, "rows": {"after": {}}, "gains": {}})
    assert 'href="#benchmarks"' not in render_page("t", none, [])


@pytest.fixture
def damaged(project: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    name, content = request.param
    path = project / "reports" / name
    before = path.read_bytes()
    path.unlink() if content is None else path.write_text(content)
    yield name
    path.write_bytes(before)


DAMAGE = [
    ("train.json", None),
    ("train.json", "{half"),
    ("train.json", "[1, 2]"),
    ("train.json", '{"grpo": [{"reward": 1}]}'),
    ("train.json", '{"warmup": "none"}'),
    ("viubench.json", '{"columns": []}'),
    ("viubench.json", '{"columns": [], "rows": {"random": {}}, "gain": {}}'),
    ("gate.json", "{}"),
    ("downstream.json", '{"rows": {}}'),
]


@pytest.mark.parametrize("damaged", DAMAGE, indirect=True)
def test_the_error_of_a_missing_or_malformed_file_names_it_and_the_stage_to_run(project: Path, damaged: str) -> None:
    with pytest.raises(
        VideoSSRError, match=rf"{re.escape(damaged)}.*run `dvc repro (train|evaluate|validate|downstream)"
    ):
        load_inputs(project)


def _with_gain(measured: dict[str, Any], overall: float, ci95: list[float], significant: bool) -> dict[str, Any]:
    return {**measured, "gain": {**measured["gain"], "overall": overall, "ci95": ci95, "significant": significant}}
