"""Published rows, which hold pixels and no edits: what can be undone is imported, the rest is counted."""

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.support import tiny_policy
from videossr.cli import app
from videossr.dataset.samples import read_samples
from videossr.dataset.verl_published import read_published
from videossr.errors import SourceError
from videossr.frames.store import FrameStore
from videossr.pretext import TASKS

FPS, START, LENGTH = 1.3, 5, 4
EDITS = {
    "ChannelSwap": lambda frame: frame[..., ::-1],
    "Mirror": lambda frame: frame[:, ::-1],
    "Rotate180": lambda frame: frame[::-1, ::-1],
    "ZoomOut": lambda frame: cv2.resize(frame, None, fx=0.7, fy=0.7),
}


def write_rows(folder):
    """Rows in the published form: a folder of JPEG files for each video, edited files beside the others."""
    rows, (name, clip) = [], next(iter(tiny_policy.clips().items()))
    for number, frame in enumerate(clip.frames):
        write_jpeg(folder / "48frames" / name / f"{number}.jpg", frame)
    names = [f"/nowhere/48frames/{name}/{number}.jpg" for number in range(len(clip))]
    for perturbation, edit in EDITS.items():
        shown = list(names)
        for number in range(START, START + LENGTH):
            shown[number] = f"/nowhere/48frames/{name}/{number}_{perturbation.lower()}.jpg"
            write_jpeg(folder / "48frames" / name / f"{number}_{perturbation.lower()}.jpg", edit(clip.frames[number]))
        answer = f"{START / FPS:.1f}-{(START + LENGTH) / FPS:.1f}"
        rows.append(row("grounding", "<video>\nWhen?", [shown], answer, {"perturbation_type": perturbation}))
    parts = np.array_split(names, 8)
    order = [3, 0, 7, 1, 6, 2, 5, 4]
    answer = "".join(str(order.index(part) + 1) for part in range(8))
    rows.append(row("shuffled", "Clip: <video>\n" * 8, [list(parts[part]) for part in order], answer, {}))
    rows.append(row("counting", "<video>\nHow many?", [names], "1,2,3", {}))
    pq.write_table(pa.Table.from_pylist(rows), folder / "theirs.parquet")
    return folder / "theirs.parquet"


def write_jpeg(path, frame):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.ascontiguousarray(frame[..., ::-1]))


def row(source, question, clips, answer, extra):
    videos = [{"video": c, "sample_fps": FPS, "max_pixels": 65536, "min_pixels": 1024} for c in clips]
    return {
        "data_source": source,
        "prompt": [{"role": "system", "content": "Answer."}, {"role": "user", "content": question}],
        "videos": videos,
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"index": 0, "perturbation_type": None, **extra},
    }


def test_rows_whose_edit_can_be_undone_render_to_their_files(tmp_path):
    rows = read_published(write_rows(tmp_path))
    assert [sample.kind for sample in rows.samples] == [
        "grounding/channel_swap", "grounding/mirror", "grounding/rotate_180", "jigsaw/8"
    ]  # fmt: skip
    table = pq.read_table(tmp_path / "theirs.parquet").to_pylist()
    for sample in rows.samples:
        source = table[int(sample.sample_id.split("/")[1])]
        rendered = TASKS[sample.task]().render(sample, rows.videos)
        for clip, entry in zip(rendered, source["videos"], strict=True):
            files = [tmp_path / path.removeprefix("/nowhere/") for path in entry["video"]]
            np.testing.assert_array_equal(clip.frames, [cv2.imread(str(file))[..., ::-1] for file in files])
        assert sample.answer == source["reward_model"]["ground_truth"]
        assert sample.answer == TASKS[sample.task]().answer(sample.edit, rows.videos[sample.video_id].times)


def test_the_import_command_says_what_is_left_out_and_lost(tmp_path, monkeypatch):
    path = write_rows(tmp_path)
    monkeypatch.chdir(tmp_path)
    output = CliRunner().invoke(app, ["import", str(path)], catch_exceptions=False).output
    assert "left out 1 rows of grounding/ZoomOut" in output and "left out 1 rows of counting" in output
    assert "presentation times" in output
    samples = read_samples(tmp_path / "data" / "imported" / "samples" / "theirs.parquet")
    assert {sample.video_id for sample in samples} == set(FrameStore(tmp_path / "data" / "imported" / "frames"))


def test_frames_that_are_missing_or_outside_the_folder_are_counted_not_opened(tmp_path):
    (tmp_path / "in").mkdir()
    path = write_rows(tmp_path / "in")
    rows = pq.read_table(path).to_pylist()[:2]
    (tmp_path / "secret.jpg").write_bytes((tmp_path / "in/48frames/video0/0.jpg").read_bytes())
    rows[0]["videos"][0]["video"][0] = "../secret.jpg"
    pq.write_table(pa.Table.from_pylist(rows), path)
    read = read_published(path)
    assert len(read.samples) == 1 and read.left_out == {"frame files are missing beside the parquet file": 1}


def test_a_file_of_which_nothing_follows_is_an_error(tmp_path):
    path = write_rows(tmp_path)
    pq.write_table(pa.Table.from_pylist(pq.read_table(path).to_pylist()[-1:]), path)
    with pytest.raises(SourceError, match="none of its rows follows .*counting"):
        read_published(path)
    pq.write_table(pa.table({"data_source": ["grounding"], "extra_info": [{"index": 0}]}), path)
    with pytest.raises(SourceError, match="has not the columns"):
        read_published(path)
