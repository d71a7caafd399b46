"""Rules that hold for every task, and tests of each single task."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.windows import window_of
from videossr import config, rewards
from videossr.clip import Clip
from videossr.errors import ConfigError, SourceError
from videossr.models.policy import Prompt
from videossr.pretext import TASKS, Counting, Grounding, Jigsaw, PretextTask, shapes
from videossr.pretext.grounding import append_end, frame_edges
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.pretext.protocol import coarse_difference, mean_difference
from videossr.records import FrameTimes, Sample

NUM_STORED = 48
SMALL: dict[str, PretextTask] = {
    "grounding": Grounding(num_frames=16, min_length=3, max_length=5),
    "counting": Counting(num_frames=16, min_gap=2),
    "jigsaw": Jigsaw(frames_per_clip_6=4, frames_per_clip_8=2),
}
PAPER: dict[str, PretextTask] = {name: cls() for name, cls in TASKS.items()}
KINDS = [(task, variant) for task, cls in TASKS.items() for variant in cls.variants]
NEEDS_MORE_FRAMES = ("slow", "fast")


def random_clip(seed: int, size: tuple[int, int] = (32, 64)) -> Clip:
    rng = np.random.default_rng(seed)
    times = 0.7 + np.cumsum(rng.uniform(0.2, 0.3, NUM_STORED))
    return Clip(rng.integers(0, 256, (NUM_STORED, *size, 3), dtype=np.uint8), times)


STORE = {"aa": random_clip(1), "bb": random_clip(2, (64, 32)), "cc": random_clip(3)}
VIDEO = FrameTimes("aa", tuple(STORE["aa"].times.tolist()))


def generate(task: PretextTask, variant: str, seed: int = 0) -> Sample:
    return task.generate(VIDEO, variant, np.random.default_rng(seed), ("aa", "bb", "cc"))


def tasks_and_variants() -> Iterator[tuple[PretextTask, str]]:
    for task, variant in KINDS:
        yield SMALL[task], variant
        if variant not in NEEDS_MORE_FRAMES:
            yield PAPER[task], variant


every_kind = pytest.mark.parametrize(("task", "variant"), list(tasks_and_variants()))


def test_there_are_three_tasks_with_the_variants_of_the_paper() -> None:
    assert tuple(TASKS) == rewards.TASK_NAMES
    assert Grounding.variants == tuple(PERTURBATIONS)
    assert Counting.variants == ("easy", "hard") and Jigsaw.variants == ("4", "6", "8")


@every_kind
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_answer_follows_from_the_stored_edit_and_scores_one(task: PretextTask, variant: str, seed: int) -> None:
    sample = generate(task, variant, seed)
    edit = json.loads(json.dumps(sample.edit))
    assert edit == sample.edit
    assert task.answer(edit, VIDEO.times) == task.answer(edit, np.array(VIDEO.times)) == sample.answer
    for reward in (rewards.score, rewards.strict, rewards.metric):
        assert reward(sample.task, sample.answer, sample.answer) == 1.0


@every_kind
def test_the_same_seed_gives_the_same_sample_and_other_seeds_other_edits(task: PretextTask, variant: str) -> None:
    assert generate(task, variant, 5) == generate(task, variant, 5)
    assert len({json.dumps(generate(task, variant, seed).edit) for seed in range(8)}) > 1


@every_kind
def test_rendering_depends_on_the_edit_alone_and_does_not_change_the_store(task: PretextTask, variant: str) -> None:
    before = {name: clip.frames.copy() for name, clip in STORE.items()}
    sample = generate(task, variant)
    other_params = {"grounding": Grounding(24, 2, 3), "counting": Counting(12, 0), "jigsaw": Jigsaw(2, 3)}[sample.task]
    clips = task.render(sample, STORE)
    for clip, other in zip(clips, other_params.render(sample, STORE), strict=True):
        assert np.array_equal(clip.frames, other.frames) and np.array_equal(clip.times, other.times)
        clip.frames[:] = 0
    assert all(np.array_equal(STORE[name].frames, frames) for name, frames in before.items())


@every_kind
def test_the_question_has_a_marker_for_each_clip_and_does_not_depend_on_the_answer(
    task: PretextTask, variant: str
) -> None:
    samples = [generate(task, variant, seed) for seed in range(5)]
    assert len({sample.question for sample in samples}) == 1
    Prompt(samples[0].question, tuple(task.render(samples[0], STORE)))
    example = samples[0].question.rpartition(" ")[2].rstrip(".")
    assert rewards.parsed(samples[0].task, example, samples[0].answer)


@every_kind
def test_clean_and_rendered_clips_have_the_same_shapes_and_times(task: PretextTask, variant: str) -> None:
    sample = generate(task, variant)
    for rendered, clean in zip(task.render(sample, STORE), task.render_clean(sample, STORE), strict=True):
        assert rendered.frames.shape == clean.frames.shape
        if sample.task != "jigsaw":
            assert np.array_equal(rendered.times, clean.times)
    assert task.perceptibility(sample, STORE) > 5


# Grounding


@pytest.mark.parametrize(
    ("variant", "name", "half"),
    [
        ("noise", "sigma", 35.0),
        ("blur", "sigma_pixels", 1.0),
        ("saturation", "factor", 1.5),
        ("zoom_out", "factor", 1.2),
    ],
)
def test_strength_scales_the_drawn_parameter_and_nothing_else(variant: str, name: str, half: float) -> None:
    task = PAPER["grounding"]
    weak, normal = generate(replace(task, strength=0.5), variant), generate(task, variant)
    assert weak.edit["params"][name] <= half < normal.edit["params"][name]
    assert {**weak.edit, "params": 0} == {**normal.edit, "params": 0}, "all other draws stay the same"
    assert 0 < task.perceptibility(weak, STORE) < task.perceptibility(normal, STORE)


def test_strength_does_not_change_a_mirror() -> None:
    assert generate(replace(PAPER["grounding"], strength=0.5), "mirror") == generate(PAPER["grounding"], "mirror")


@pytest.mark.parametrize("variant", Grounding.variants)
def test_frames_outside_the_interval_equal_the_stored_ones_bit_for_bit(variant: str) -> None:
    for seed in range(6):
        sample = generate(SMALL["grounding"], variant, seed)
        clip = SMALL["grounding"].render(sample, STORE)[0]
        start, end = sample.edit["start"], sample.edit["start"] + sample.edit["length"]
        index_of = {frame.tobytes(): i for i, frame in enumerate(STORE["aa"].frames)}
        shown = [index_of.get(frame.tobytes()) for frame in clip.frames]
        outside = [*shown[:start], *shown[end:]]
        assert None not in outside and outside == sorted(outside)
        steps = {after - before for part in (shown[:start], shown[end:]) for before, after in pairwise(part)}
        assert len(steps) <= 1
        if variant in NEEDS_MORE_FRAMES:
            inside = {after - before for before, after in pairwise(shown[start : end + 1])}
            assert not steps or inside == {2 * min(steps) if variant == "fast" else min(steps) / 2}
        elif variant in ("stutter_hold", "shuffle"):
            assert set(shown[start:end]) <= set(range(3 * start, 3 * end))
        else:
            assert shown[start:end] == [None] * (end - start)


@pytest.mark.parametrize("variant", Grounding.variants)
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), seconds=st.floats(0.8, 4000))
def test_the_interval_lies_inside_the_clip_and_the_clip_inside_the_video(
    variant: str, seed: int, seconds: float
) -> None:
    """The store keeps the middle 90 %: the clip's end, one step after its last frame, must not exceed the video's."""
    video = FrameTimes("aa", tuple(np.linspace(0.05 * seconds, 0.95 * seconds, NUM_STORED).tolist()))
    sample = SMALL["grounding"].generate(video, variant, np.random.default_rng(seed), ("bb",))
    interval = rewards.parse_interval(sample.answer)
    assert interval is not None
    edges = frame_edges(video.times, sample.edit)
    assert edges[0] - 0.051 <= interval[0] < interval[1] <= edges[-1] + 0.051
    assert edges[0] >= 0 and edges[-1] <= seconds


def test_the_answer_follows_from_the_shown_times() -> None:
    sample = generate(PAPER["grounding"], "mirror")
    clip = PAPER["grounding"].render(sample, STORE)[0]
    edges = append_end(clip.times)
    start, end = sample.edit["start"], sample.edit["start"] + sample.edit["length"]
    assert sample.answer == f"{edges[start]:.1f}-{edges[end]:.1f}"
    assert np.array_equal(clip.times, STORE["aa"].times)


@pytest.mark.parametrize("variant", NEEDS_MORE_FRAMES)
def test_slow_and_fast_show_evenly_spaced_times_and_the_question_says_so(variant: str) -> None:
    sample = generate(SMALL["grounding"], variant)
    times = SMALL["grounding"].render(sample, STORE)[0].times
    assert np.allclose(np.diff(times), np.diff(times)[0])
    assert "time stamps stay evenly spaced" in sample.question
    assert "time stamps" not in generate(SMALL["grounding"], "mirror").question


@pytest.mark.parametrize("variant", NEEDS_MORE_FRAMES)
def test_slow_and_fast_need_more_stored_frames_than_shown_ones(variant: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{variant}' needs \d+ stored frames to show 48, got 48"):
        generate(PAPER["grounding"], variant)


def test_the_offset_of_a_slow_sample_does_not_reveal_its_length() -> None:
    offsets = {3: set(), 4: set(), 5: set()}
    for seed in range(600):
        edit = generate(SMALL["grounding"], "slow", seed).edit
        offsets[edit["length"]].add(edit["offset"])
    assert offsets[3] == offsets[4] == offsets[5]


def test_lengths_and_positions_are_uniform_and_the_whole_clip_as_a_guess_scores_a_quarter() -> None:
    task = PAPER["grounding"]
    samples = [generate(task, "mirror", seed) for seed in range(2000)]
    lengths = Counter(sample.edit["length"] for sample in samples)
    assert set(lengths) == set(range(8, 17)) and min(lengths.values()) > 2000 / 9 * 0.75
    starts = Counter(sample.edit["start"] for sample in samples if sample.edit["length"] == 16)
    assert set(starts) <= set(range(33)) and len(starts) > 30
    edges = frame_edges(VIDEO.times, samples[0].edit)
    whole = f"{edges[0]:.1f}-{edges[-1]:.1f}"
    ious = [rewards.metric("grounding", whole, sample.answer) for sample in samples]
    assert np.mean(ious) == pytest.approx(0.25, abs=0.01)


def test_aligned_intervals_consist_of_whole_frame_pairs() -> None:
    task = Grounding(num_frames=16, min_length=3, max_length=6, align=2)
    edits = [generate(task, "mirror", seed).edit for seed in range(60)]
    assert all(edit["start"] % 2 == 0 and edit["length"] in (4, 6) for edit in edits)
    assert {edit["start"] + edit["length"] for edit in edits} >= {4, 16}


def test_swapped_frames_are_the_donors_at_the_same_indices_resized_to_the_video() -> None:
    task, sample = SMALL["grounding"], generate(SMALL["grounding"], "swap", 1)
    inside = slice(sample.edit["start"], sample.edit["start"] + sample.edit["length"])
    same_size = replace(sample, edit={**sample.edit, "params": {"donor": "cc"}})
    assert np.array_equal(task.render(same_size, STORE)[0].frames[inside], STORE["cc"].frames[::3][inside])
    other_size = replace(sample, edit={**sample.edit, "params": {"donor": "bb"}})
    assert task.render(other_size, STORE)[0].frames.shape == (16, 32, 64, 3)


def test_the_donor_of_a_swap_is_no_window_of_the_same_source() -> None:
    video, donors = replace(VIDEO, video_id=window_of(1)), [window_of(1), window_of(1, 1), window_of(2, 5)]
    for seed in range(20):
        sample = SMALL["grounding"].generate(video, "swap", np.random.default_rng(seed), donors)
        assert sample.edit["params"]["donor"] == window_of(2, 5)
    with pytest.raises(SourceError, match="'swap' needs a video other than"):
        SMALL["grounding"].generate(video, "swap", np.random.default_rng(0), donors[:2])


def test_the_donor_of_a_swap_is_never_the_video_itself() -> None:
    assert {generate(SMALL["grounding"], "swap", seed).edit["params"]["donor"] for seed in range(40)} == {"bb", "cc"}
    for donors in ((), ("aa",)):
        with pytest.raises(SourceError, match="'swap' needs a video other than"):
            SMALL["grounding"].generate(VIDEO, "swap", np.random.default_rng(0), donors)


def test_a_video_too_short_for_an_interval_in_tenths_of_a_second_is_an_error_that_names_it() -> None:
    blink = FrameTimes("blink", tuple(np.linspace(0, 0.2, NUM_STORED)))
    assert not SMALL["grounding"].fits(blink, "mirror")
    assert SMALL["grounding"].fits(VIDEO, "mirror")
    with pytest.raises(SourceError, match="video blink span only"):
        Grounding(16, 2, 2).generate(FrameTimes("blink", tuple(np.linspace(0.01, 0.03, NUM_STORED))), "mirror", _rng())


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


# Counting


@pytest.mark.parametrize(("variant", "most"), [("easy", 3), ("hard", 4)])
@pytest.mark.parametrize("task", [PAPER["counting"], SMALL["counting"]])
def test_the_numbers_of_frames_and_shapes_and_the_gaps_keep_to_the_parameters(
    task: Counting, variant: str, most: int
) -> None:
    for seed in range(60):
        drawn = generate(task, variant, seed).edit["shapes"]
        frames = {kind: sorted({s["frame"] for s in drawn if s["kind"] == kind}) for kind in shapes.KINDS}
        for kind, of_kind in frames.items():
            assert 1 <= len(of_kind) <= most
            assert all(after - before > task.min_gap for before, after in pairwise(of_kind))
            assert max(Counter(s["frame"] for s in drawn if s["kind"] == kind).values()) <= most
        assert sum(map(len, frames.values())) == len({s["frame"] for s in drawn})
        assert all(0 <= s["frame"] < task.num_frames for s in drawn)


def test_the_answer_counts_the_drawn_shapes_and_other_frames_do_not_change() -> None:
    task, sample = PAPER["counting"], generate(PAPER["counting"], "hard", 3)
    kinds = Counter(shape["kind"] for shape in sample.edit["shapes"])
    assert sample.answer == ",".join(str(kinds[kind]) for kind in shapes.KINDS)
    rendered, clean = task.render(sample, STORE)[0], task.render_clean(sample, STORE)[0]
    changed = {i for i in range(48) if not np.array_equal(rendered.frames[i], clean.frames[i])}
    assert changed == {shape["frame"] for shape in sample.edit["shapes"]}


def test_every_count_up_to_the_maximum_occurs() -> None:
    answers = [generate(SMALL["counting"], "easy", seed).answer.split(",") for seed in range(300)]
    for counts in zip(*answers, strict=True):
        assert {int(count) for count in counts} == set(range(1, 10))


def test_three_frames_hold_one_shape_of_each_kind() -> None:
    tight = Counting(3, 0, easy_max_frames=1, hard_max_frames=1)
    for seed in range(200):
        assert {shape["frame"] for shape in generate(tight, "easy", seed).edit["shapes"]} == {0, 1, 2}


@pytest.mark.parametrize("kinds", [1, 2])
def test_a_sample_of_fewer_kinds_counts_the_others_as_zero(kinds: int) -> None:
    task = Counting(2, 0, easy_max_frames=1, hard_max_frames=1, kinds=kinds)
    answers = [generate(task, "easy", seed).answer.split(",") for seed in range(100)]
    assert all(counts.count("0") == len(shapes.KINDS) - kinds for counts in answers)
    assert all({counts[i] for counts in answers} == {"0", "1", "2", "3"} for i in range(len(shapes.KINDS)))


def test_shapes_that_do_not_fit_are_not_counted() -> None:
    crowded = Counting(num_frames=16, min_gap=2, easy_max_instances=30)
    samples = [generate(crowded, "easy", seed) for seed in range(3)]
    assert all(max(Counter(shape["frame"] for shape in s.edit["shapes"]).values()) < 30 for s in samples)
    assert all(crowded.answer(s.edit, ()) == s.answer for s in samples)


# Jigsaw


@pytest.mark.parametrize("variant", Jigsaw.variants)
def test_the_clips_in_the_order_of_the_answer_restore_the_video(variant: str) -> None:
    for task in (PAPER["jigsaw"], SMALL["jigsaw"]):
        sample = generate(task, variant, 4)
        clips = task.render(sample, STORE)
        assert len(clips) == len(sample.answer) == int(variant)
        frames = np.concatenate([clips[int(number) - 1].frames for number in sample.answer])
        assert np.array_equal(frames, STORE["aa"].frames[:: NUM_STORED // len(frames)])


def test_the_times_of_each_jigsaw_clip_start_at_zero() -> None:
    for clip in PAPER["jigsaw"].render(generate(PAPER["jigsaw"], "6"), STORE):
        assert clip.times[0] == 0.0


def test_the_order_of_a_jigsaw_is_never_the_identity() -> None:
    class IdentityFirst(np.random.Generator):
        """Returns the identity twice before it shuffles."""

        def __init__(self) -> None:
            super().__init__(np.random.PCG64(0))
            self.identities_left = 2

        def permutation(self, n: int, axis: int = 0) -> np.ndarray:  # type: ignore[override]
            self.identities_left -= 1
            return np.arange(n) if self.identities_left >= 0 else super().permutation(n)

    rng = IdentityFirst()
    assert PAPER["jigsaw"].generate(VIDEO, "6", rng).answer != "123456"
    assert rng.identities_left < 0


def test_all_other_orders_are_about_equally_likely() -> None:
    answers = [generate(SMALL["jigsaw"], "6", seed).answer for seed in range(3000)]
    for place in zip(*answers, strict=True):
        assert min(Counter(place).values()) > 3000 / 6 * 0.8


# Wrong parameters, and videos on which an edit is invisible


@pytest.mark.parametrize(
    ("cls", "section", "message"),
    [
        (Grounding, {"min_length": 9, "max_length": 8}, "min_length <= max_length < num_frames"),
        (Grounding, {"min_length": 1}, "a shuffle needs two frames"),
        (Grounding, {"num_frames": 16}, "got 8, 16 and 16"),
        (Grounding, {"min_length": 9, "max_length": 9, "align": 2}, "align"),
        (Grounding, {"strength": 0}, "strength must be above 0"),
        (Counting, {"num_frames": 16}, "lower min_gap or max_frames"),
        (Counting, {"easy_max_frames": 0}, "must be at least 1"),
        (Counting, {"kinds": 4}, "kinds must be 1 to 3"),
        (Jigsaw, {"frames_per_clip_6": 1}, "frames_per_clip must be at least 2"),
    ],
)
def test_the_error_for_contradicting_parameters_names_the_rule(cls: type, section: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.build(cls, section, "pretext")


@pytest.mark.parametrize("task", [Grounding(20, 3, 5), Counting(20, 2), Jigsaw(5, 5, 5)])
def test_stored_frames_must_be_a_multiple_of_the_shown_frames(task: PretextTask) -> None:
    variant = "mirror" if isinstance(task, Grounding) else task.variants[0]
    for method in (task.fits, lambda video, variant: task.generate(video, variant, _rng())):
        with pytest.raises(ConfigError, match="must be a multiple of the frames that a sample shows, got 48 stored"):
            method(VIDEO, variant)


def test_edits_without_visible_effect_have_perceptibility_zero() -> None:
    half = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    still = np.repeat(np.concatenate([half, half[:, :, ::-1]], axis=2), NUM_STORED, axis=0)
    store = {"aa": Clip(still, STORE["aa"].times)}
    for task, variant in (("grounding", "mirror"), ("grounding", "slow"), ("grounding", "shuffle"), ("jigsaw", "6")):
        assert SMALL[task].perceptibility(generate(SMALL[task], variant), store) == 0.0
    assert SMALL["grounding"].perceptibility(generate(SMALL["grounding"], "invert"), store) > 25


def test_sensor_noise_does_not_make_an_invisible_edit_perceptible() -> None:
    """A static dark scene: the noise differs from frame to frame, but nothing else does."""
    half = np.random.default_rng(0).integers(40, 90, (1, 32, 16, 1), dtype=np.uint8)
    still = np.repeat(np.concatenate([half, half[:, :, ::-1]], axis=2), NUM_STORED, axis=0)
    noisy = still + np.random.default_rng(1).normal(0, 2, (NUM_STORED, 32, 32, 3)).round()
    store = {"aa": Clip(noisy.astype(np.uint8), STORE["aa"].times)}
    invisible = [("grounding", name) for name in ("mirror", "slow", "fast", "shuffle", "stutter_hold", "channel_swap")]
    for task, variant in (*invisible, ("jigsaw", "6")):
        sample = generate(SMALL[task], variant)
        rendered, clean = SMALL[task].render(sample, store)[0], SMALL[task].render_clean(sample, store)[0]
        assert SMALL[task].perceptibility(sample, store) < 1.0 and (rendered.frames != clean.frames).any()
    for variant in ("noise", "blur", "invert"):
        assert SMALL["grounding"].perceptibility(generate(SMALL["grounding"], variant), store) > 2.0


@pytest.mark.parametrize("size", [(32, 32), (30, 45), (4, 7)])
def test_the_coarse_difference_is_that_of_the_mean_of_each_block_of_16_pixels(size: tuple[int, int]) -> None:
    first, second = np.random.default_rng(0).integers(0, 256, (2, 3, *size, 3), dtype=np.uint8)
    rows, columns = size[0] // 4, size[1] // 4
    exact = (first.astype(np.float64) - second)[:, : rows * 4, : columns * 4]
    blocks = exact.reshape(3, rows, 4, columns, 4, 3).mean(axis=(2, 4))
    assert coarse_difference(first, second) == np.abs(blocks).mean()


@pytest.mark.parametrize("variant", Grounding.variants)
def test_the_difference_of_an_edit_is_that_of_the_frames_it_edits(variant: str) -> None:
    sample = generate(SMALL["grounding"], variant)
    inside = slice(sample.edit["start"], sample.edit["start"] + sample.edit["length"])
    rendered, clean = SMALL["grounding"].render(sample, STORE)[0], SMALL["grounding"].render_clean(sample, STORE)[0]
    difference = mean_difference if variant in ("noise", "blur") else coarse_difference
    found = difference(rendered.frames[inside], clean.frames[inside])
    assert SMALL["grounding"].perceptibility(sample, STORE) == found > 0
