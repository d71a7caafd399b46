"""The laws every puzzle keeps, and what each task promises beyond them."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videossr import config, rewards
from videossr.clip import Clip
from videossr.errors import ConfigError, SourceError
from videossr.models.policy import Prompt
from videossr.pretext import TASKS, Counting, Grounding, Jigsaw, PretextTask, shapes
from videossr.pretext.baselines import blind_floors
from videossr.pretext.grounding import append_end, frame_edges
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.records import FrameTimes, Sample

STORED = 48
SMALL: dict[str, PretextTask] = {
    "grounding": Grounding(num_frames=16, min_length=3, max_length=5),
    "counting": Counting(num_frames=16, min_gap=2),
    "jigsaw": Jigsaw(frames_per_clip_6=4, frames_per_clip_8=2),
}
PAPER: dict[str, PretextTask] = {name: cls() for name, cls in TASKS.items()}
KINDS = [(task, variant) for task, cls in TASKS.items() for variant in cls.variants]
NEEDS_MORE_FRAMES = ("slow", "fast")


def a_clip(seed: int, size: tuple[int, int] = (32, 64)) -> Clip:
    rng = np.random.default_rng(seed)
    times = 0.7 + np.cumsum(rng.uniform(0.2, 0.3, STORED))
    return Clip(rng.integers(0, 256, (STORED, *size, 3), dtype=np.uint8), times)


STORE = {"aa": a_clip(1), "bb": a_clip(2, (64, 32)), "cc": a_clip(3)}
FOOTAGE = FrameTimes("aa", tuple(STORE["aa"].times.tolist()))


def made(task: PretextTask, variant: str, seed: int = 0) -> Sample:
    return task.generate(FOOTAGE, variant, np.random.default_rng(seed), ("aa", "bb", "cc"))


def settings_that_work() -> Iterator[tuple[PretextTask, str]]:
    for task, variant in KINDS:
        yield SMALL[task], variant
        if variant not in NEEDS_MORE_FRAMES:
            yield PAPER[task], variant


every_kind = pytest.mark.parametrize(("task", "variant"), list(settings_that_work()))


def test_there_are_three_tasks_with_the_variants_of_the_paper() -> None:
    assert tuple(TASKS) == rewards.TASK_NAMES
    assert Grounding.variants == tuple(PERTURBATIONS)
    assert Counting.variants == ("easy", "hard") and Jigsaw.variants == ("4", "6", "8")


@every_kind
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_answer_follows_from_the_stored_edit_and_scores_one(task: PretextTask, variant: str, seed: int) -> None:
    sample = made(task, variant, seed)
    stored = json.loads(json.dumps(sample.edit))
    assert stored == sample.edit
    assert task.answer(stored, FOOTAGE.times) == task.answer(stored, np.array(FOOTAGE.times)) == sample.answer
    for reward in (rewards.score, rewards.strict, rewards.metric):
        assert reward(sample.task, sample.answer, sample.answer) == 1.0


@every_kind
def test_the_same_seed_gives_the_same_sample_and_another_seed_another(task: PretextTask, variant: str) -> None:
    assert made(task, variant, 5) == made(task, variant, 5)
    assert len({json.dumps(made(task, variant, seed).edit) for seed in range(8)}) > 1


@every_kind
def test_rendering_needs_the_edit_alone_and_leaves_the_store_untouched(task: PretextTask, variant: str) -> None:
    before = {name: clip.frames.copy() for name, clip in STORE.items()}
    sample = made(task, variant)
    elsewhere = {"grounding": Grounding(24, 2, 3), "counting": Counting(12, 0), "jigsaw": Jigsaw(2, 3)}[sample.task]
    clips = task.render(sample, STORE)
    for clip, other in zip(clips, elsewhere.render(sample, STORE), strict=True):
        assert np.array_equal(clip.frames, other.frames) and np.array_equal(clip.times, other.times)
        clip.frames[:] = 0
    assert all(np.array_equal(STORE[name].frames, frames) for name, frames in before.items())


@every_kind
def test_the_question_shows_every_clip_and_tells_nothing_of_the_answer(task: PretextTask, variant: str) -> None:
    samples = [made(task, variant, seed) for seed in range(5)]
    assert len({sample.question for sample in samples}) == 1
    Prompt(samples[0].question, tuple(task.render(samples[0], STORE)))
    example = samples[0].question.rpartition(" ")[2].rstrip(".")
    assert rewards.parsed(samples[0].task, example, samples[0].answer)


@every_kind
def test_clean_and_rendered_clips_are_alike_but_for_the_edit(task: PretextTask, variant: str) -> None:
    sample = made(task, variant)
    for seen, clean in zip(task.render(sample, STORE), task.render_clean(sample, STORE), strict=True):
        assert seen.frames.shape == clean.frames.shape
        if sample.task != "jigsaw":
            assert np.array_equal(seen.times, clean.times)
    assert task.perceptibility(sample, STORE) > 5


# Grounding


@pytest.mark.parametrize(
    ("variant", "name", "strongest"),
    [
        ("noise", "sigma", 35.0),
        ("blur", "sigma_pixels", 1.0),
        ("saturation", "factor", 1.5),
        ("zoom_out", "factor", 1.2),
    ],
)
def test_half_the_strength_is_half_as_far_from_the_video(variant: str, name: str, strongest: float) -> None:
    task = PAPER["grounding"]
    weak, usual = made(replace(task, strength=0.5), variant), made(task, variant)
    assert weak.edit["params"][name] <= strongest < usual.edit["params"][name]
    assert {**weak.edit, "params": 0} == {**usual.edit, "params": 0}, "nothing else is drawn otherwise"
    assert 0 < task.perceptibility(weak, STORE) < task.perceptibility(usual, STORE)


def test_a_mirror_has_no_degrees() -> None:
    assert made(replace(PAPER["grounding"], strength=0.5), "mirror") == made(PAPER["grounding"], "mirror")


@pytest.mark.parametrize("variant", Grounding.variants)
def test_frames_outside_the_interval_are_the_stored_ones_bit_for_bit(variant: str) -> None:
    for seed in range(6):
        sample = made(SMALL["grounding"], variant, seed)
        clip = SMALL["grounding"].render(sample, STORE)[0]
        start, end = sample.edit["start"], sample.edit["start"] + sample.edit["length"]
        stored = {frame.tobytes(): i for i, frame in enumerate(STORE["aa"].frames)}
        shown = [stored.get(frame.tobytes()) for frame in clip.frames]
        outside = [*shown[:start], *shown[end:]]
        assert None not in outside and outside == sorted(outside)
        steps = {later - sooner for part in (shown[:start], shown[end:]) for sooner, later in pairwise(part)}
        assert len(steps) <= 1
        if variant in NEEDS_MORE_FRAMES:
            faster = {later - sooner for sooner, later in pairwise(shown[start : end + 1])}
            assert not steps or faster == {2 * min(steps) if variant == "fast" else min(steps) / 2}
        elif variant in ("stutter_hold", "shuffle"):
            assert set(shown[start:end]) <= set(range(3 * start, 3 * end))
        else:
            assert shown[start:end] == [None] * (end - start)


@pytest.mark.parametrize("variant", Grounding.variants)
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), seconds=st.floats(0.8, 4000))
def test_the_interval_lies_inside_the_clip_and_within_the_footage(variant: str, seed: int, seconds: float) -> None:
    """The store keeps the middle 90 %, so the clip's end, one step on, must stay before the video's."""
    footage = FrameTimes("aa", tuple(np.linspace(0.05 * seconds, 0.95 * seconds, STORED).tolist()))
    sample = SMALL["grounding"].generate(footage, variant, np.random.default_rng(seed), ("bb",))
    interval = rewards.parse_interval(sample.answer)
    assert interval is not None
    bounds = frame_edges(footage.times, sample.edit)
    assert bounds[0] - 0.051 <= interval[0] < interval[1] <= bounds[-1] + 0.051
    assert bounds[0] >= 0 and bounds[-1] <= seconds


def test_the_answer_is_told_by_the_shown_times_themselves() -> None:
    sample = made(PAPER["grounding"], "mirror")
    clip = PAPER["grounding"].render(sample, STORE)[0]
    bounds = append_end(clip.times)
    start, end = sample.edit["start"], sample.edit["start"] + sample.edit["length"]
    assert sample.answer == f"{bounds[start]:.1f}-{bounds[end]:.1f}"
    assert np.array_equal(clip.times, STORE["aa"].times)


@pytest.mark.parametrize("variant", NEEDS_MORE_FRAMES)
def test_slow_and_fast_show_an_even_clock_and_say_so(variant: str) -> None:
    sample = made(SMALL["grounding"], variant)
    times = SMALL["grounding"].render(sample, STORE)[0].times
    assert np.allclose(np.diff(times), np.diff(times)[0])
    assert "time stamps stay evenly spaced" in sample.question
    assert "time stamps" not in made(SMALL["grounding"], "mirror").question


@pytest.mark.parametrize("variant", NEEDS_MORE_FRAMES)
def test_slow_and_fast_ask_for_more_stored_frames_than_shown(variant: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{variant}' needs \d+ stored frames to show 48, got 48"):
        made(PAPER["grounding"], variant)


def test_the_offset_of_a_slow_puzzle_does_not_tell_its_length() -> None:
    offsets = {3: set(), 4: set(), 5: set()}
    for seed in range(600):
        edit = made(SMALL["grounding"], "slow", seed).edit
        offsets[edit["length"]].add(edit["offset"])
    assert offsets[3] == offsets[4] == offsets[5]


def test_lengths_and_positions_are_uniform_and_the_whole_clip_as_a_guess_scores_a_quarter() -> None:
    task = PAPER["grounding"]
    samples = [made(task, "mirror", seed) for seed in range(2000)]
    lengths = Counter(sample.edit["length"] for sample in samples)
    assert set(lengths) == set(range(8, 17)) and min(lengths.values()) > 2000 / 9 * 0.75
    starts = Counter(sample.edit["start"] for sample in samples if sample.edit["length"] == 16)
    assert set(starts) <= set(range(33)) and len(starts) > 30
    bounds = frame_edges(FOOTAGE.times, samples[0].edit)
    whole = f"{bounds[0]:.1f}-{bounds[-1]:.1f}"
    ious = [rewards.metric("grounding", whole, sample.answer) for sample in samples]
    assert np.mean(ious) == pytest.approx(0.25, abs=0.01)


def test_aligned_intervals_share_no_pair_of_frames_with_clean_ones() -> None:
    task = Grounding(num_frames=16, min_length=3, max_length=6, align=2)
    edits = [made(task, "mirror", seed).edit for seed in range(60)]
    assert all(edit["start"] % 2 == 0 and edit["length"] in (4, 6) for edit in edits)
    assert {edit["start"] + edit["length"] for edit in edits} >= {4, 16}


def test_swapped_frames_come_from_another_video_at_the_same_place_in_the_right_size() -> None:
    task, sample = SMALL["grounding"], made(SMALL["grounding"], "swap", 1)
    inside = slice(sample.edit["start"], sample.edit["start"] + sample.edit["length"])
    same_size = replace(sample, edit={**sample.edit, "params": {"donor": "cc"}})
    assert np.array_equal(task.render(same_size, STORE)[0].frames[inside], STORE["cc"].frames[::3][inside])
    other_size = replace(sample, edit={**sample.edit, "params": {"donor": "bb"}})
    assert task.render(other_size, STORE)[0].frames.shape == (16, 32, 64, 3)


def test_swap_never_takes_the_video_itself_and_needs_another() -> None:
    assert {made(SMALL["grounding"], "swap", seed).edit["params"]["donor"] for seed in range(40)} == {"bb", "cc"}
    for donors in ((), ("aa",)):
        with pytest.raises(SourceError, match="'swap' needs a video other than"):
            SMALL["grounding"].generate(FOOTAGE, "swap", np.random.default_rng(0), donors)


def test_a_video_too_short_for_tenths_of_a_second_does_not_fit_and_says_why() -> None:
    blink = FrameTimes("blink", tuple(np.linspace(0, 0.2, STORED)))
    assert not SMALL["grounding"].fits(blink, "mirror")
    assert SMALL["grounding"].fits(FOOTAGE, "mirror")
    with pytest.raises(SourceError, match="video blink span only"):
        Grounding(16, 2, 2).generate(FrameTimes("blink", tuple(np.linspace(0.01, 0.03, STORED))), "mirror", _rng())


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


# Counting


@pytest.mark.parametrize(("variant", "most"), [("easy", 3), ("hard", 4)])
@pytest.mark.parametrize("task", [PAPER["counting"], SMALL["counting"]])
def test_counts_frames_and_gaps_keep_to_the_rules(task: Counting, variant: str, most: int) -> None:
    for seed in range(60):
        drawn = made(task, variant, seed).edit["shapes"]
        frames = {kind: sorted({s["frame"] for s in drawn if s["kind"] == kind}) for kind in shapes.KINDS}
        for kind, carrying in frames.items():
            assert 1 <= len(carrying) <= most
            assert all(later - sooner > task.min_gap for sooner, later in pairwise(carrying))
            assert max(Counter(s["frame"] for s in drawn if s["kind"] == kind).values()) <= most
        assert sum(map(len, frames.values())) == len({s["frame"] for s in drawn})
        assert all(0 <= s["frame"] < task.num_frames for s in drawn)


def test_the_answer_counts_what_is_drawn_and_only_there_pixels_change() -> None:
    task, sample = PAPER["counting"], made(PAPER["counting"], "hard", 3)
    kinds = Counter(shape["kind"] for shape in sample.edit["shapes"])
    assert sample.answer == ",".join(str(kinds[kind]) for kind in shapes.KINDS)
    seen, clean = task.render(sample, STORE)[0], task.render_clean(sample, STORE)[0]
    changed = {i for i in range(48) if not np.array_equal(seen.frames[i], clean.frames[i])}
    assert changed == {shape["frame"] for shape in sample.edit["shapes"]}


def test_every_count_up_to_the_most_occurs() -> None:
    answers = [made(SMALL["counting"], "easy", seed).answer.split(",") for seed in range(300)]
    for counts in zip(*answers, strict=True):
        assert {int(count) for count in counts} == set(range(1, 10))


def test_three_frames_just_hold_one_of_each_shape() -> None:
    tight = Counting(3, 0, easy_max_frames=1, hard_max_frames=1)
    for seed in range(200):
        assert {shape["frame"] for shape in made(tight, "easy", seed).edit["shapes"]} == {0, 1, 2}


def test_crowded_frames_are_thinned_before_the_answer_is_fixed() -> None:
    crowded = Counting(num_frames=16, min_gap=2, easy_max_instances=30)
    samples = [made(crowded, "easy", seed) for seed in range(3)]
    assert all(max(Counter(shape["frame"] for shape in s.edit["shapes"]).values()) < 30 for s in samples)
    assert all(crowded.answer(s.edit, ()) == s.answer for s in samples)


# Jigsaw


@pytest.mark.parametrize("variant", Jigsaw.variants)
def test_putting_the_clips_in_the_answered_order_restores_the_video(variant: str) -> None:
    for task in (PAPER["jigsaw"], SMALL["jigsaw"]):
        sample = made(task, variant, 4)
        clips = task.render(sample, STORE)
        assert len(clips) == len(sample.answer) == int(variant)
        played = np.concatenate([clips[int(number) - 1].frames for number in sample.answer])
        assert np.array_equal(played, STORE["aa"].frames[:: STORED // len(played)])


def test_no_time_stamp_tells_the_order() -> None:
    for clip in PAPER["jigsaw"].render(made(PAPER["jigsaw"], "6"), STORE):
        assert clip.times[0] == 0.0


def test_no_jigsaw_is_in_order_already() -> None:
    class Unlucky(np.random.Generator):
        """Draws the order that is already right, twice, before it shuffles."""

        def __init__(self) -> None:
            super().__init__(np.random.PCG64(0))
            self.left = 2

        def permutation(self, n: int, axis: int = 0) -> np.ndarray:  # type: ignore[override]
            self.left -= 1
            return np.arange(n) if self.left >= 0 else super().permutation(n)

    rng = Unlucky()
    assert PAPER["jigsaw"].generate(FOOTAGE, "6", rng).answer != "123456"
    assert rng.left < 0


def test_every_other_order_is_about_as_likely() -> None:
    answers = [made(SMALL["jigsaw"], "6", seed).answer for seed in range(3000)]
    for place in zip(*answers, strict=True):
        assert min(Counter(place).values()) > 3000 / 6 * 0.8


# What cannot be asked, and what a blind answerer gets


@pytest.mark.parametrize(
    ("cls", "section", "said"),
    [
        (Grounding, {"min_length": 9, "max_length": 8}, "min_length <= max_length < num_frames"),
        (Grounding, {"min_length": 1}, "a shuffle needs two frames"),
        (Grounding, {"num_frames": 16}, "got 8, 16 and 16"),
        (Grounding, {"min_length": 9, "max_length": 9, "align": 2}, "align"),
        (Grounding, {"strength": 0}, "strength must be above 0"),
        (Counting, {"num_frames": 16}, "lower min_gap or max_frames"),
        (Counting, {"easy_max_frames": 0}, "must be at least 1"),
        (Jigsaw, {"frames_per_clip_6": 1}, "frames_per_clip must be at least 2"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused_with_the_rule(cls: type, section: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config.build(cls, section, "pretext")


@pytest.mark.parametrize("task", [Grounding(20, 3, 5), Counting(20, 2), Jigsaw(5, 5, 5)])
def test_stored_frames_must_be_a_multiple_of_the_shown(task: PretextTask) -> None:
    variant = "mirror" if isinstance(task, Grounding) else task.variants[0]
    for ask in (task.fits, lambda footage, kind: task.generate(footage, kind, _rng())):
        with pytest.raises(ConfigError, match="must be a multiple of the frames that a sample shows, got 48 stored"):
            ask(FOOTAGE, variant)


def test_a_mirrored_symmetric_video_and_a_still_one_are_not_perceptible() -> None:
    half = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    still = np.repeat(np.concatenate([half, half[:, :, ::-1]], axis=2), STORED, axis=0)
    store = {"aa": Clip(still, STORE["aa"].times)}
    for task, variant in (("grounding", "mirror"), ("grounding", "slow"), ("grounding", "shuffle"), ("jigsaw", "6")):
        assert SMALL[task].perceptibility(made(SMALL[task], variant), store) == 0.0
    assert SMALL["grounding"].perceptibility(made(SMALL["grounding"], "invert"), store) > 25


def test_noise_alone_makes_neither_a_still_video_nor_a_symmetric_or_a_grey_one_perceptible() -> None:
    """Static scenes in the dark: every frame has noise of its own, and nothing can be put in order."""
    half = np.random.default_rng(0).integers(40, 90, (1, 32, 16, 1), dtype=np.uint8)
    still = np.repeat(np.concatenate([half, half[:, :, ::-1]], axis=2), STORED, axis=0)
    noisy = still + np.random.default_rng(1).normal(0, 2, (STORED, 32, 32, 3)).round()
    store = {"aa": Clip(noisy.astype(np.uint8), STORE["aa"].times)}
    unseen = [("grounding", name) for name in ("mirror", "slow", "fast", "shuffle", "stutter_hold", "channel_swap")]
    for task, variant in (*unseen, ("jigsaw", "6")):
        sample = made(SMALL[task], variant)
        seen, clean = (draw(sample, store)[0].frames for draw in (SMALL[task].render, SMALL[task].render_clean))
        assert SMALL[task].perceptibility(sample, store) < 1.0 and (seen != clean).any()
    for variant in ("noise", "blur", "invert"):
        assert SMALL["grounding"].perceptibility(made(SMALL["grounding"], variant), store) > 2.0


def test_the_blind_floors_are_the_known_ones() -> None:
    kinds = [("grounding", "mirror"), ("counting", "easy"), ("jigsaw", "6"), ("jigsaw", "8")]
    floors = blind_floors([made(PAPER[task], variant, seed) for task, variant in kinds for seed in range(400)])
    assert floors["grounding"] == pytest.approx(0.307, abs=0.02)
    assert floors["counting"] == pytest.approx(0.585, abs=0.02)
    assert floors["jigsaw"] == pytest.approx(0.352, abs=0.02)
