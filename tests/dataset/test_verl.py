"""Exports in verl's format: the columns, no loss, no trace of an edit, and an import that verifies every sample."""

import dataclasses
import importlib.util
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import AutoProcessor
from typer.testing import CliRunner

from tests.support import ROOT, tiny_policy
from videossr.audit import GATED_KINDS
from videossr.audit.features import measure_features
from videossr.audit.findings import compute_finding
from videossr.audit.probe_samples import build_probe_samples
from videossr.audit.renderings import Rendering
from videossr.cli import app
from videossr.clip import Clip
from videossr.dataset.build import build_train
from videossr.dataset.params import PretextParams, TrainSet
from videossr.dataset.samples import read_samples, write_samples
from videossr.dataset.verl_export import export_samples
from videossr.dataset.verl_format import SCHEMA
from videossr.dataset.verl_import import import_samples, read_export
from videossr.errors import ConfigError, SourceError, StoreError
from videossr.frames.lossless import decode_png, encode_png, write_clips
from videossr.frames.store import FrameStore
from videossr.records import FrameTimes

PRETEXT = PretextParams(**tiny_policy.TASKS)


def build_samples(kinds, count):
    store = tiny_policy.clips(12)
    videos = [FrameTimes(name, tuple(clip.times.tolist())) for name, clip in store.items()]
    return build_train(replace(PRETEXT, train=TrainSet(count, dict.fromkeys(kinds, 1.0))), videos)


SAMPLES = build_samples(
    [
        "grounding/mirror",
        "grounding/swap",
        "grounding/noise",
        "grounding/slow",
        "grounding/shuffle",
        "counting/hard",
        "jigsaw/8",
    ],
    21,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    return export_samples(SAMPLES, tiny_policy.clips(12), PRETEXT.tasks, folder, "train", "Answer directly.")


def render(sample, store=None):
    return PRETEXT.tasks[sample.task].render(sample, store or tiny_policy.clips(12))


def are_equal(clips, others):
    return all(
        np.array_equal(a.frames, b.frames) and np.array_equal(a.times, b.times)
        for a, b in zip(clips, others, strict=True)
    )


def read_as_verl(video):
    """The frames of one entry of `videos`, decoded by OpenCV from the image files [T,H,W,3]."""
    assert video["type"] == "video"
    return np.stack([cv2.imread(path)[..., ::-1] for path in video["video"]])


# Export


def test_an_export_has_the_published_columns(exported):
    assert pq.read_schema(exported).names == [
        "data_source",
        "prompt",
        "videos",
        "ability",
        "reward_model",
        "extra_info",
    ]
    for sample, row in zip(SAMPLES, pq.read_table(exported).to_pylist(), strict=True):
        assert row["data_source"] == sample.task
        assert row["prompt"] == [
            {"role": "system", "content": "Answer directly."},
            {"role": "user", "content": sample.question},
        ]
        assert row["reward_model"]["style"] == "rule" and row["extra_info"]["answer"] == sample.answer
        assert row["extra_info"]["index"] == SAMPLES.index(sample) and row["extra_info"]["split"] == "train"


def test_every_video_marker_of_a_prompt_has_a_video_whose_files_exist(exported):
    for row in pq.read_table(exported).to_pylist():
        assert row["prompt"][-1]["content"].count("<video>") == len(row["videos"])
        assert all(Path(path).is_file() for video in row["videos"] for path in video["video"])


def test_exported_frames_are_the_rendered_ones_bit_for_bit(exported):
    for sample, row in zip(SAMPLES, pq.read_table(exported).to_pylist(), strict=True):
        for clip, video in zip(render(sample), row["videos"], strict=True):
            np.testing.assert_array_equal(read_as_verl(video), clip.frames)


def test_sample_fps_is_the_true_rate_and_the_pixel_bounds_are_the_frame_size(exported):
    for row in pq.read_table(exported).to_pylist():
        for video, times in zip(row["videos"], row["extra_info"]["times"], strict=True):
            assert video["sample_fps"] == pytest.approx((len(times) - 1) / (times[-1] - times[0]))
            assert video["min_pixels"] == video["max_pixels"] == 64 * 64


def late_clips(uneven):
    """Videos whose stored frames begin at 5 % of 40 s, as the frames stage stores them."""
    rng = np.random.default_rng(0)
    steps = rng.uniform(1.0, 4.0, tiny_policy.NUM_STORED) if uneven else np.full(tiny_policy.NUM_STORED, 2.4)
    return {name: Clip(clip.frames, 2.0 + np.cumsum(steps)) for name, clip in tiny_policy.clips(12).items()}


def prompt_of_verl(processor, row):
    """The prompt of a row as verl (1dda039) makes it: its dataset, qwen-vl-utils 0.0.14, then the model's processor.

    For a list of frames qwen-vl-utils gives the metadata `fps` = sample_fps and `frames_indices` = 0, 1, 2, ...
    """
    blocks = [{"type": "video"} if part == "<video>" else {"type": "text", "text": part}
              for part in re.split("(<video>)", row["prompt"][-1]["content"]) if part]  # fmt: skip
    text = processor.apply_chat_template([{"role": "user", "content": blocks}], tokenize=False)
    videos = [torch.from_numpy(read_as_verl(video)).permute(0, 3, 1, 2) for video in row["videos"]]
    metadata = [{"fps": video["sample_fps"], "frames_indices": list(range(len(video["video"]))),
                 "total_num_frames": len(video["video"])} for video in row["videos"]]  # fmt: skip
    out = processor(text=[text], videos=videos, video_metadata=metadata, do_sample_frames=False, return_tensors="pt")
    return processor.tokenizer.decode(out["input_ids"][0])


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return AutoProcessor.from_pretrained(tiny_policy.write_tiny(tmp_path_factory.mktemp("policy")))


@pytest.mark.parametrize("uneven", [False, True])
def test_the_time_stamps_of_verls_prompt_agree_with_the_ground_truth(uneven, processor, tmp_path):
    """The pairs of frames whose time stamp lies in the answer are the edited ones."""
    store = late_clips(uneven)
    videos = [FrameTimes(name, tuple(clip.times.tolist())) for name, clip in store.items()]
    tasks = replace(PRETEXT, grounding=replace(PRETEXT.grounding, align=2))
    kinds = ("grounding/mirror", "grounding/invert", "grounding/slow")
    samples = build_train(replace(tasks, train=TrainSet(12, dict.fromkeys(kinds, 1.0))), videos)
    path = export_samples(samples, store, tasks.tasks, tmp_path, "train")
    for sample, row in zip(samples, pq.read_table(path).to_pylist(), strict=True):
        prompt = prompt_of_verl(processor, row)
        stamps = [float(stamp.replace(" ", "")) for stamp in re.findall(r"<\s*([0-9. ]+?)\s*seconds", prompt)]
        start, end = (float(side) for side in row["reward_model"]["ground_truth"].split("-"))
        edited = range(sample.edit["start"], sample.edit["start"] + sample.edit["length"])
        assert [start <= stamp < end for stamp in stamps] == [2 * i in edited for i in range(len(stamps))]
    samples_read, _ = read_export(path)
    assert samples_read == samples


def test_the_reward_file_beside_an_export_gives_verl_our_rewards(exported):
    spec = importlib.util.spec_from_file_location("custom_module", exported.with_name("reward.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # as verl loads `custom_reward_function.path`
    for row in pq.read_table(exported).to_pylist():
        source, answer = row["data_source"], row["reward_model"]["ground_truth"]
        assert module.compute_score(source, answer, answer, extra_info=row["extra_info"]) == 1.0
        assert module.compute_score(data_source=source, solution_str="?", ground_truth=answer, extra_info=None) == 0.0


def test_an_interval_that_verls_clock_cannot_show_is_left_out_with_a_warning(tmp_path, caplog):
    """The edited frames last long, the others not: on an even clock the interval has no tenth of a second."""
    clip = tiny_policy.clips(1)["video0"]
    sample = next(s for s in SAMPLES if s.variant == "mirror")
    edit = {**sample.edit, "stride": [1, 1], "offset": 0, "start": 4, "length": 2, "num_frames": 8}
    times = np.cumsum(np.where(np.isin(np.arange(16), (5, 6)), 0.05, 0.0001))
    sample = replace(sample, video_id="video0", edit=edit, answer="0.0-0.1")
    path = export_samples([sample], {"video0": Clip(clip.frames, times)}, PRETEXT.tasks, tmp_path, "train")
    assert len(pq.read_table(path)) == 0 and "1 of 1 samples left out" in caplog.text


def test_every_distinct_frame_is_stored_once_under_a_hash(exported):
    files = list((exported.parent / "frames").iterdir())
    shown = {path for row in pq.read_table(exported).to_pylist() for v in row["videos"] for path in v["video"]}
    assert {str(path.resolve()) for path in files} >= shown
    assert all(path.suffix == ".png" and len(path.stem) == 40 for path in files)
    pixels = {decode_png(path.read_bytes()).tobytes() for path in files}
    assert len(pixels) == len(files)


@pytest.mark.parametrize("kind", GATED_KINDS)
def test_the_audit_finds_no_trace_of_an_edit_in_exported_frames(kind, tmp_path):
    store, samples = tiny_policy.clips(12), build_samples([kind], 96)
    path = export_samples(samples, store, PRETEXT.tasks, tmp_path, "train")
    rows = {row["extra_info"]["sample_id"]: row for row in pq.read_table(path).to_pylist()}

    def as_exported(sample, clips):
        videos = rows[sample.sample_id]["videos"]
        return [Clip(read_as_verl(video), clip.times) for video, clip in zip(videos, clips, strict=True)]

    features = measure_features(PRETEXT.tasks, samples, {kind: [Rendering("exported", "", False, as_exported)]}, store)
    probe_samples = build_probe_samples(PRETEXT.tasks["grounding"], features.rendered[kind, "exported"])
    finding = compute_finding(kind, "exported", probe_samples, 4, 0.99, np.random.default_rng(0))
    assert finding.interval[0] <= 0 <= finding.interval[1] and finding.top_statistics == ()


# Import


def test_an_import_returns_the_same_samples_and_they_render_equally(exported, tmp_path):
    shutil.copytree(exported.parent, tmp_path / "moved")
    samples = import_samples(tmp_path / "moved" / "train.parquet", tmp_path / "store")
    store = FrameStore(tmp_path / "store")
    assert samples == SAMPLES
    assert all(are_equal(render(sample), render(sample, store)) for sample in samples)


def test_an_imported_store_has_the_frame_times(exported, tmp_path):
    import_samples(exported, tmp_path / "store")
    imported = {video.video_id: video.times for video in FrameStore(tmp_path / "store").frame_times()}
    expected = {name: tuple(clip.times.tolist()) for name, clip in tiny_policy.clips(12).items()}
    assert imported == {name: times for name, times in expected.items() if name in imported}


def test_an_export_of_an_import_equals_the_first_export(exported, tmp_path):
    samples, frames = read_export(exported)
    again = export_samples(samples, frames, PRETEXT.tasks, tmp_path, "train", "Answer directly.")
    assert {path.name for path in again.parent.rglob("*.png")} == {path.name for path in exported.parent.rglob("*.png")}
    assert pq.read_table(again)["extra_info"] == pq.read_table(exported)["extra_info"]


def test_rows_without_an_edit_are_an_error(tmp_path):
    path = tmp_path / "theirs.parquet"
    pq.write_table(pa.table({"data_source": ["grounding"], "extra_info": [{"index": 0}]}), path)
    with pytest.raises(SourceError, match="only pixels"):
        read_export(path)
    with pytest.raises(SourceError, match="no exported file"):
        read_export(tmp_path / "nowhere.parquet")


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported.parent, tmp_path / "copy") / "train.parquet"


def test_a_changed_or_missing_frame_is_an_error(copied):
    name = pq.read_table(copied.with_name("train.videos.parquet"))["frames"][0][0].as_py()
    path = copied.parent / "frames" / name
    frame = decode_png(path.read_bytes())
    path.write_bytes(encode_png(frame ^ 1))
    with pytest.raises(SourceError, match="other pixels"):
        read_export(copied)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(SourceError, match="cannot be read"):
        read_export(copied)
    path.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        read_export(copied)


def test_an_edit_that_does_not_render_to_the_exported_frames_is_an_error(copied):
    rows = pq.read_table(copied).to_pylist()
    row = next(row for row in rows if row["extra_info"]["variant"] == "mirror")
    edit = json.loads(row["extra_info"]["edit"])
    row["extra_info"]["edit"] = json.dumps({**edit, "start": (edit["start"] + 1) % 4})
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), copied)
    with pytest.raises(SourceError, match="no longer renders"):
        read_export(copied)
    for broken in ("no json", "[]", '{"perturbation": "mirror"}'):
        row["extra_info"]["edit"] = broken
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), copied)
        with pytest.raises(SourceError, match="cannot be rendered"):
            read_export(copied)


def test_an_unknown_task_and_a_frame_outside_the_folder_are_errors(copied):
    table = pq.read_table(copied)
    rows = table.to_pylist()
    rows[0]["extra_info"]["task"] = "sudoku"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), copied)
    with pytest.raises(SourceError, match="known are grounding, counting, jigsaw"):
        read_export(copied)
    pq.write_table(table, copied)
    index = copied.with_name("train.videos.parquet")
    videos = pq.read_table(index).to_pylist()
    videos[0]["frames"][0] = "../../secret.png"
    pq.write_table(pa.Table.from_pylist(videos), index)
    with pytest.raises(SourceError, match="named by its pixels"):
        read_export(copied)


MIRROR_INDEX = next(i for i, sample in enumerate(SAMPLES) if sample.variant == "mirror")


def _change_extra_info(copied, **changes):
    """Change fields of the extra_info of a mirror sample in the export."""
    rows = pq.read_table(copied).to_pylist()
    rows[MIRROR_INDEX]["extra_info"] |= changes
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), copied)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "0.1-0.2"}, "answer that does not follow"),
        ({"answer": "maybe"}, "answer that does not follow"),
        ({"answer": None}, "answer must be a text"),
        ({"question": "When?"}, "question without its clips"),
        ({"variant": "wobble"}, "no variant 'wobble'"),
        ({"sample_id": SAMPLES[MIRROR_INDEX - 1].sample_id}, "same sample_id"),
        ({"edit": json.dumps({**SAMPLES[MIRROR_INDEX].edit, "num_frames": 10**13})}, "10000000000000 of"),
        ({"edit": json.dumps({**SAMPLES[MIRROR_INDEX].edit, "start": 10**30})}, "cannot be rendered"),
    ],
)
def test_a_row_that_contradicts_its_edit_is_an_error(copied, changes, message):
    _change_extra_info(copied, **changes)
    with pytest.raises(SourceError, match=message):
        read_export(copied)


def test_a_ground_truth_that_contradicts_the_edit_is_an_error(copied):
    rows = pq.read_table(copied).to_pylist()
    rows[0]["reward_model"]["ground_truth"] = "0.1-0.2"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), copied)
    with pytest.raises(SourceError, match="answer that does not follow"):
        read_export(copied)


@pytest.mark.parametrize("column", ["extra_info", "videos", "reward_model"])
@pytest.mark.parametrize("value", [None, "text"])
def test_a_column_of_another_type_is_a_clear_error(copied, column, value):
    table = pq.read_table(copied)
    replacement = pa.array([value] * len(table), pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, replacement), copied)
    with pytest.raises(SourceError, match="only pixels|cannot be rendered"):
        read_export(copied)


def test_a_row_without_values_is_a_clear_error(copied):
    rows = pq.read_table(copied).to_pylist()
    for column in ("extra_info", "videos", "reward_model"):
        pq.write_table(pa.Table.from_pylist([{**rows[0], column: None}, *rows[1:]], SCHEMA), copied)
        with pytest.raises(SourceError, match="cannot be rendered|a task 'None'"):
            read_export(copied)


@pytest.mark.parametrize("name", ["train.parquet", "train.videos.parquet"])
def test_a_file_that_is_not_parquet_is_a_clear_error(copied, name):
    copied.with_name(name).write_text("half a download")
    with pytest.raises(SourceError, match="cannot be read as parquet"):
        read_export(copied)


@pytest.mark.parametrize("video_id", ["../../evil", "v" * 100, None])
def test_a_video_id_that_is_a_path_is_an_error(copied, video_id):
    index = copied.with_name("train.videos.parquet")
    videos = pq.read_table(index).to_pylist()
    pq.write_table(pa.Table.from_pylist([{**videos[0], "video_id": video_id}, *videos[1:]]), index)
    with pytest.raises(SourceError, match="names a video"):
        read_export(copied)
    pq.write_table(pa.Table.from_pylist(videos).drop_columns(["times"]), index)
    with pytest.raises(SourceError, match="lacks the column times"):
        read_export(copied)


def test_clips_of_different_lengths_are_an_error(tmp_path):
    clip = tiny_policy.clips(12)["video0"]
    with pytest.raises(SourceError, match="as many frames"):
        write_clips({"a": clip, "b": Clip(clip.frames[:4], clip.times[:4])}, tmp_path / "store")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a small frame store and a few samples, as the working directory."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["pretext"] |= {name: dataclasses.asdict(task) for name, task in tiny_policy.TASKS.items()}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    write_clips(tiny_policy.clips(12), tmp_path / "data" / "frames")
    write_samples(tmp_path / "data" / "samples" / "train.parquet", SAMPLES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_export_and_import_and_overwrite_nothing(project):
    def invoke(*arguments):
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    assert "21 samples" in invoke("export", "out").output
    assert invoke("import", "out/train.parquet").exit_code == 0
    assert read_samples(project / "data" / "imported" / "samples" / "train.parquet") == SAMPLES
    assert len(FrameStore(project / "data" / "imported" / "frames")) > 0
    with pytest.raises(ConfigError, match="choose another folder"):
        invoke("import", "out/train.parquet")


def test_the_audit_command_writes_its_page(project):
    """`--frames` names another frame store, such as that of an import; the default is data/frames."""
    (project / "data" / "frames").rename(project / "imported")
    with pytest.raises(StoreError, match="no frame store at data/frames"):
        CliRunner().invoke(app, ["audit"], catch_exceptions=False)
    done = CliRunner().invoke(app, ["audit", "--puzzles", "4", "--frames", "imported"], catch_exceptions=False)
    assert "audit: " in done.output and "reports/audit.html" in done.output
    assert (project / "reports" / "audit.html").is_file() and (project / "reports" / "audit.json").is_file()
