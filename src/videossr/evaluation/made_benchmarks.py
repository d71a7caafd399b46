"""Three tiny benchmarks with known answers, for a machine without data: made videos, annotations in published schemas.

In each video two balloons of different colours fly over a made landscape, one after the other. When each is in the
picture and which colour it has is drawn at random, so the answers are known: when (`charadessta`), which colour
(`videomme`), in which of several videos (`cvbench`). The scenes are those of no training video.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from videossr.ingest.synthetic import SyntheticParams, draw_video, write_video
from videossr.storage.atomic import atomic_folder

KEYS = ("charadessta", "videomme", "cvbench")
COLOURS = {"red": (214, 22, 28), "yellow": (250, 226, 30), "blue": (28, 40, 214), "white": (250, 250, 250)}
LETTERS = "ABCD"

_FIRST_NUMBER = 1_000_000  # of a video: training videos of the same seed have smaller ones
_SCENES = SyntheticParams(num_videos=6, min_seconds=6.0, max_seconds=8.0)


@dataclass(frozen=True)
class Balloon:
    """A balloon: its colour and the frames [start, stop) of its video that show it."""

    colour: str
    start: int
    stop: int


@dataclass(frozen=True)
class MadeVideo:
    """A made video: its name, its frames uint8 [T, S, S, 3] RGB, frames a second, and its balloons in order."""

    name: str
    frames: npt.NDArray[np.uint8]
    fps: int
    balloons: tuple[Balloon, Balloon]

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    def window(self, balloon: Balloon) -> tuple[float, float]:
        """When the balloon is in the picture, in seconds."""
        return balloon.start / self.fps, balloon.stop / self.fps


def make_benchmarks(out: Path, seed: int, scenes: SyntheticParams = _SCENES) -> None:
    """Write annotations and videos of the three benchmarks to `out`/<key>, which replaces `out`.

    The files are a function of `seed` and `scenes`.
    """
    with atomic_folder(out) as folder:
        videos = [draw_made_video(seed, number, scenes) for number in range(scenes.num_videos)]
        rng = np.random.default_rng([seed, _FIRST_NUMBER + scenes.num_videos])
        _write_videomme(folder / "videomme", videos, rng)
        encoded = {video.name: folder / "videomme" / "data" / f"{video.name}.mp4" for video in videos}
        _write_charades(folder / "charadessta", videos, encoded)
        _write_cvbench(folder / "cvbench", videos, encoded, rng)


def draw_made_video(seed: int, number: int, scenes: SyntheticParams = _SCENES) -> MadeVideo:
    """Video `number` of a seed: a landscape of its own, and two balloons of different colours one after the other."""
    frames = draw_video(scenes, seed, _FIRST_NUMBER + number)
    rng = np.random.default_rng([seed, _FIRST_NUMBER + number, 1])
    first, second = rng.permutation(list(COLOURS))[:2]
    half = len(frames) // 2
    balloons = (
        Balloon(str(first), *_draw_window(rng, 0, half)),
        Balloon(str(second), *_draw_window(rng, half, len(frames))),
    )
    for balloon in balloons:
        _fly(frames, balloon, rng)
    return MadeVideo(f"M{number:04d}", frames, scenes.fps, balloons)


def _draw_window(rng: np.random.Generator, first: int, end: int) -> tuple[int, int]:
    """Frames [start, stop) of a part of the video: 35 % to 75 % of it, and not at its edges."""
    length = round(rng.uniform(0.35, 0.75) * (end - first))
    start = int(rng.integers(first + 1, end - length))
    return start, start + length


def _fly(frames: npt.NDArray[np.uint8], balloon: Balloon, rng: np.random.Generator) -> None:
    """Draw a balloon that rises a little to the right into its frames, in place. Its light does not fade."""
    size = frames.shape[1]
    x, y = rng.uniform(0.3, 0.6), rng.uniform(0.32, 0.42)
    for step, frame in enumerate(frames[balloon.start : balloon.stop]):
        progress = step / max(balloon.stop - balloon.start - 1, 1)
        _draw_balloon(frame, (x + 0.12 * progress) * size, (y - 0.06 * progress) * size, COLOURS[balloon.colour])


def _draw_balloon(frame: npt.NDArray[np.uint8], x: float, y: float, colour: tuple[int, int, int]) -> None:
    """An envelope with a dark rim above a basket on two ropes; a quarter of the picture high."""
    size, dark = len(frame), (24, 20, 20)
    centre, axes = (round(x * 16), round(y * 16)), (round(0.15 * size * 16), round(0.18 * size * 16))
    bottom = y + 0.3 * size
    for side in (-1, 1):
        ends = [(x + side * 0.11 * size, y + 0.1 * size), (x + side * 0.04 * size, bottom)]
        start, stop = ((round(px * 16), round(py * 16)) for px, py in ends)
        cv2.line(frame, start, stop, dark, max(1, size // 64), cv2.LINE_AA, shift=4)
    corners = [(x - 0.05 * size, bottom), (x + 0.05 * size, bottom + 0.07 * size)]
    low, high = ((round(px * 16), round(py * 16)) for px, py in corners)
    cv2.rectangle(frame, low, high, (96, 60, 24), cv2.FILLED, cv2.LINE_AA, shift=4)
    cv2.ellipse(frame, centre, axes, 0, 0, 360, colour, cv2.FILLED, cv2.LINE_AA, shift=4)
    cv2.ellipse(frame, centre, axes, 0, 0, 360, dark, max(1, size // 48), cv2.LINE_AA, shift=4)


def _write_charades(folder: Path, videos: Sequence[MadeVideo], encoded: Mapping[str, Path]) -> None:
    folder.mkdir(parents=True)
    lines = []
    for video in videos:
        shutil.copyfile(encoded[video.name], folder / f"{video.name}.mp4")
        for balloon in video.balloons:
            start, end = video.window(balloon)
            lines.append(f"{video.name} {start:.1f} {end:.1f}##a {balloon.colour} balloon flies over the land.\n")
    (folder / "charades_sta_test.txt").write_text("".join(lines), encoding="utf-8")
    lengths = [f"{video.name},{video.seconds:.2f}\n" for video in videos]
    (folder / "Charades_v1_test.csv").write_text("id,length\n" + "".join(lengths), encoding="utf-8")


def _write_videomme(folder: Path, videos: Sequence[MadeVideo], rng: np.random.Generator) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    for number, video in enumerate(videos):
        path = folder / "data" / f"{video.name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, video.frames, video.fps)
        for place, balloon in zip(("first", "last"), video.balloons, strict=True):
            options = [str(colour) for colour in rng.permutation(list(COLOURS))]
            rows.append(
                {
                    "video_id": f"{number:03d}",
                    "duration": "short",
                    "domain": "made videos",
                    "sub_category": "balloons",
                    "url": "",
                    "videoID": video.name,
                    "question_id": f"{number:03d}-{len(rows) % 2 + 1}",
                    "task_type": "Temporal Perception" if place == "first" else "Attribute Perception",
                    "question": f"Which colour has the balloon that comes {place}?",
                    "options": _lettered(f"{colour.capitalize()}." for colour in options),
                    "answer": LETTERS[options.index(balloon.colour)],
                }
            )
    (folder / "videomme").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "videomme" / "test-00000-of-00001.parquet")


def _write_cvbench(
    folder: Path, videos: Sequence[MadeVideo], encoded: Mapping[str, Path], rng: np.random.Generator
) -> None:
    """For each video a question about it and others, alternately `in which video` and `in both videos`."""
    rows = []
    for number, video in enumerate(videos):
        if number % 2:
            shown, question = _in_both_videos(number, videos)
        else:
            shown, question = _in_which_video(video, videos, rng)
        names = [f"{number}/{chr(ord('a') + place)}.mp4" for place in range(len(shown))]
        (folder / str(number)).mkdir(parents=True)
        for name, each in zip(names, shown, strict=True):
            shutil.copyfile(encoded[each.name], folder / name)
        fields = {f"video_{place + 1}": names[place] if place < len(names) else None for place in range(4)}
        rows.append({"id": number, **fields, **question})
    (folder / "CVBench.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _in_which_video(
    video: MadeVideo, videos: Sequence[MadeVideo], rng: np.random.Generator
) -> tuple[list[MadeVideo], dict[str, Any]]:
    """Two or three videos of which one alone shows the colour that is asked for."""
    colour = video.balloons[0].colour
    others = [other for other in videos if colour not in _colours(other)]
    chosen = [others[place] for place in rng.permutation(len(others))[:2]]
    shown = [video, *chosen]
    shown = [shown[place] for place in rng.permutation(len(shown))]
    return shown, {
        "task_type": "Cross-video Object Recognition",
        "question": f"In which video does a {colour} balloon fly?",
        "options": _lettered(f"Video {place + 1}." for place in range(len(shown))),
        "answer": LETTERS[shown.index(video)],
    }


def _in_both_videos(number: int, videos: Sequence[MadeVideo]) -> tuple[list[MadeVideo], dict[str, Any]]:
    """Two videos, and whether both show a colour of the first; yes for every other question where that is possible."""
    video = videos[number]
    colour = video.balloons[1].colour
    wanted = number % 4 == 1
    others = [other for other in videos if other is not video and (colour in _colours(other)) == wanted]
    other = others[0] if others else videos[number - 1]
    return [video, other], {
        "task_type": "Cross-video Entity Matching",
        "question": f"Does a {colour} balloon fly in both videos?",
        "options": ["Yes.", "No."],
        "answer": "Yes" if colour in _colours(other) else "No",
    }


def _colours(video: MadeVideo) -> set[str]:
    return {balloon.colour for balloon in video.balloons}


def _lettered(texts: Iterable[str]) -> list[str]:
    return [f"{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False)]
