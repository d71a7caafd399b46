"""The probe without vision: edits that do not change its statistics, signals it learns, and traces of JPEG files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simplejpeg import decode_jpeg

from tests.support import SHARED, tiny_policy
from tests.support.ingesting import ingest_source
from tests.support.windows import window_of
from videossr import rewards
from videossr.audit import GATED_KINDS, AuditParams, run_audit, write_audit
from videossr.audit.features import measure_features
from videossr.audit.findings import compute_finding
from videossr.audit.probe import Choice, _split, cross_validate, softmax
from videossr.audit.probe_samples import build_probe_samples
from videossr.audit.renderings import RENDERINGS, Rendering, edited_frame_indices, encode_and_decode_jpeg
from videossr.audit.statistics import STATISTICS, clip_statistics
from videossr.clip import Clip
from videossr.dataset.build import build_train
from videossr.dataset.params import PretextParams, TrainSet
from videossr.errors import ConfigError, SourceError
from videossr.frames.encoding import encode_jpeg
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.ingest.params import IngestParams
from videossr.pretext import Grounding
from videossr.records import FrameTimes, source_of

REAL_VIDEOS = SHARED / "videos"
PRETEXT = PretextParams(**tiny_policy.TASKS)
OURS = RENDERINGS["ours"]


def frame_times(store):
    return [FrameTimes(name, tuple(clip.times.tolist())) for name, clip in store.items()]


def samples_of(kind, count, store=None, pretext=PRETEXT):
    store = store or tiny_policy.clips(12)
    return build_train(replace(pretext, train=TrainSet(count, {kind: 1.0})), frame_times(store))


def probe_samples_of(rendering, kind, count, store=None, pretext=PRETEXT):
    store = store or tiny_policy.clips(12)
    samples = samples_of(kind, count, store, pretext)
    features = measure_features(pretext.tasks, samples, {kind: [rendering]}, store)
    return build_probe_samples(pretext.tasks[kind.split("/")[0]], features.rendered[kind, rendering.name])


def finding_of(rendering, kind, count=120, store=None, pretext=PRETEXT):
    probe_samples = probe_samples_of(rendering, kind, count, store, pretext)
    return compute_finding(kind, rendering.name, probe_samples, 4, 0.99, np.random.default_rng(0))


@pytest.fixture(scope="module")
def result():
    """The result of an audit of twelve synthetic videos."""
    store = tiny_policy.clips(12)
    return run_audit(PRETEXT, frame_times(store), store, AuditParams(num_samples=48, folds=3))


@pytest.fixture(scope="module")
def result_of_four_videos():
    """The result of an audit of four videos, which are too few for an interval."""
    store = tiny_policy.clips(4)
    return run_audit(PRETEXT, frame_times(store), store, AuditParams(num_samples=4, folds=2))


# Statistics


@given(
    frames=st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).integers(0, 256, (3, 32, 64, 3), np.uint8)
    ),
    smooth=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_a_mirrored_flipped_rotated_or_channel_swapped_frame_has_the_same_statistics(frames, smooth):
    if smooth:
        frames = encode_and_decode_jpeg(np.repeat(np.repeat(frames[:, ::8, ::8], 8, 1), 8, 2), 60)
    times = np.arange(3) / 2
    expected = clip_statistics(Clip(frames, times))
    for edited in (frames[:, :, ::-1], frames[:, ::-1], frames[:, ::-1, ::-1], frames[..., ::-1]):
        statistics = clip_statistics(Clip(np.ascontiguousarray(edited), times))
        np.testing.assert_allclose(statistics, expected, rtol=1e-9, atol=1e-9)


def test_a_jpeg_file_of_low_quality_changes_the_statistics_of_every_frame():
    clip = tiny_policy.clips(12)["video3"]
    saved = Clip(encode_and_decode_jpeg(clip.frames, 75), clip.times)
    before, after = (clip_statistics(one).T for one in (clip, saved))
    for name, direction in (("luma: misfit to JPEG steps", -1), ("luma: zero coefficients", 1)):
        change = after[STATISTICS.index(name)] - before[STATISTICS.index(name)]
        assert (direction * change > 0).all(), name


def test_the_probe_gains_nothing_on_still_videos():
    still = Clip(np.repeat(tiny_policy.clips(12)["video0"].frames[:1], 16, axis=0), np.arange(16) / 3)
    finding = finding_of(OURS, "grounding/mirror", 24, {f"still{i}": still for i in range(6)})
    assert finding.gain == 0.0


# The probe


def choices_with_signal(num_videos, strength, seed=0):
    """Choices between 9 alternatives with 4 random features; `strength` is added to one feature of the right one."""
    rng = np.random.default_rng(seed)
    choices = []
    for i in range(240):
        features, right = rng.standard_normal((9, 4)), int(rng.integers(9))
        features[right, 2] += strength
        choices.append(Choice(features, np.zeros(9), right, f"video{i % num_videos}"))
    return choices


def accuracy(choices, seed=1):
    probabilities = cross_validate(choices, 4, np.random.default_rng(seed))
    return np.mean([np.argmax(p) == choice.right for p, choice in zip(probabilities, choices, strict=True)])


def test_the_probe_learns_a_feature_that_marks_the_right_alternative():
    assert accuracy(choices_with_signal(12, 3.0)) > 0.85


def test_without_a_signal_the_probe_returns_the_prior():
    choices = [replace(choice, prior=np.log(np.arange(1.0, 10.0))) for choice in choices_with_signal(12, 0.0)]
    for probabilities in cross_validate(choices, 4, np.random.default_rng(0)):
        np.testing.assert_allclose(probabilities, softmax(choices[0].prior), atol=0.03)


def test_the_probe_does_not_learn_a_feature_of_a_single_video():
    rng = np.random.default_rng(0)
    choices = []
    for video in range(12):
        right = rng.integers(9)
        for _ in range(20):
            features = np.zeros((9, 12))
            features[right, video] = 1.0
            choices.append(Choice(features, np.zeros(9), int(right), f"video{video}"))
    # Each feature marks the right alternative in one video, and is zero in all others.
    probabilities = cross_validate(choices, 4, np.random.default_rng(0))
    assert max(p.max() for p in probabilities) == pytest.approx(1 / 9)


def test_without_statistics_the_probe_gives_the_best_blind_answer():
    paper = replace(PRETEXT, grounding=Grounding())
    clip = Clip(np.repeat(np.zeros((1, 32, 32, 3), np.uint8), 48, axis=0), np.arange(48.0))
    finding = finding_of(OURS, "grounding/mirror", 150, {f"v{i}": clip for i in range(12)}, paper)
    assert finding.probe_reward == finding.blind_reward == pytest.approx(0.307, abs=0.04)


# Findings


@pytest.mark.parametrize("kind", GATED_KINDS)
def test_the_probe_finds_no_trace_in_our_frames(kind):
    finding = finding_of(OURS, kind, 240)
    assert finding.interval[0] <= 0 <= finding.interval[1]
    assert finding.top_statistics == ()


@pytest.mark.parametrize("kind", [kind for kind in GATED_KINDS if kind != "grounding/shuffle"])
def test_the_probe_finds_edited_frames_that_were_saved_as_jpeg(kind):
    finding = finding_of(RENDERINGS["reference"], kind)
    assert finding.probe_reward > 0.8 and finding.interval[0] > 0.3
    assert "luma: misfit to JPEG steps" in finding.top_statistics


def test_the_probe_finds_a_different_time_step_inside_the_edited_interval():
    def shorten_time_steps(sample, clips):
        steps = np.diff(clips[0].times, prepend=-1)
        steps[sample.edit["start"] : sample.edit["start"] + sample.edit["length"]] *= 0.999
        return [Clip(clips[0].frames, np.cumsum(steps) - 1)]

    finding = finding_of(Rendering("shortened", "", False, shorten_time_steps), "grounding/mirror")
    assert finding.is_above_blind and "step of the clock" in finding.top_statistics


def test_stored_jpeg_frames_would_reveal_a_channel_swap_to_a_statistic_that_distinguishes_red_from_blue():
    """The reason why all statistics are symmetric in red and blue.

    Stored frames lie on JPEG's quantisation steps; a frame whose red and blue are exchanged does not. The page of the
    audit says so. This is a trace of the edit itself in stored frames, and not of how the edited frames were written.
    """
    stored = decode_jpeg(encode_jpeg(tiny_policy.clips(12)["video3"].frames[0]), "RGB")

    def change_when_stored_again(frame):
        return np.abs(decode_jpeg(encode_jpeg(frame), "RGB").astype(int) - frame).mean()

    swapped, mirrored = (np.ascontiguousarray(one) for one in (stored[..., ::-1], stored[:, ::-1]))
    assert change_when_stored_again(swapped) > 2 * change_when_stored_again(stored)
    assert change_when_stored_again(mirrored) < 1.5 * change_when_stored_again(stored)


def test_edited_frame_indices_are_those_whose_pixels_change():
    by_kind = {sample.kind: sample for sample in tiny_policy.samples(8)}
    mirrored, counted = by_kind["grounding/mirror"], by_kind["counting/easy"]
    assert edited_frame_indices(mirrored) == [mirrored.edit["start"] + i for i in range(mirrored.edit["length"])]
    assert edited_frame_indices(counted) == sorted({shape["frame"] for shape in counted.edit["shapes"]})
    assert edited_frame_indices(samples_of("grounding/shuffle", 1)[0]) == []
    assert edited_frame_indices(by_kind["jigsaw/8"]) == []


@pytest.mark.parametrize("kind", ["grounding/mirror", "counting/hard", "jigsaw/8"])
def test_every_reply_of_the_probe_can_be_parsed(kind):
    for item in probe_samples_of(OURS, kind, 12):
        reply = item.reply([softmax(choice.prior) for choice in item.choices])
        assert rewards.parsed(kind.split("/")[0], reply, item.sample.answer)


@pytest.mark.parametrize("kind", ["grounding/mirror", "counting/hard"])
def test_probability_one_for_the_right_alternatives_scores_the_full_reward(kind):
    for item in probe_samples_of(OURS, kind, 12):
        certain = [np.eye(len(choice.prior))[choice.right] for choice in item.choices]
        assert rewards.score(kind.split("/")[0], item.reply(certain), item.sample.answer) == pytest.approx(1.0)


# The whole audit


def test_the_audit_passes_our_frames_and_detects_traces_in_the_published_ones(result):
    assert result["verdict"] == "passed"
    low = {(row["kind"], row["way"]): row["interval"][0] for row in result["findings"]}
    assert all(low[kind, "ours"] <= 0 for kind in GATED_KINDS)
    assert low["grounding/mirror", "reference"] > 0.3


def test_every_kind_is_audited_or_reported_with_a_reason(result):
    audited = {row["kind"] for row in result["perceptibility"]}
    all_kinds = {f"{name}/{variant}" for name, task in PRETEXT.tasks.items() for variant in task.variants}
    assert audited | set(result["left_out"]) == all_kinds
    assert "16 stored and 12 shown" in result["left_out"]["jigsaw/6"]


def test_the_result_holds_the_share_of_visible_edits(result):
    shares = {row["kind"]: row["share"] for row in result["perceptibility"]}
    assert shares["grounding/invert"] == 1.0
    assert all(0 <= share <= 1 for share in shares.values())


def test_the_same_audit_gives_the_same_bytes(result_of_four_videos, tmp_path):
    store = tiny_policy.clips(4)
    again = run_audit(PRETEXT, frame_times(store)[::-1], store, AuditParams(num_samples=4, folds=2))
    for name, one in (("first", result_of_four_videos), ("second", again)):
        write_audit(one, tmp_path / name)
    for file in ("audit.json", "audit.html"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_the_page_states_the_verdict_and_needs_no_network(result, tmp_path):
    page = write_audit(result, tmp_path).read_text()
    assert "Passed." in page and "red from blue" in page and "data:image/svg+xml" in page and "http" not in page
    assert json.loads((tmp_path / "audit.json").read_text()) == json.loads(json.dumps(result))


def test_an_audit_of_few_videos_is_inconclusive(result_of_four_videos):
    assert result_of_four_videos["verdict"] == "inconclusive"
    assert all(row["interval"] == (-1.0, 1.0) for row in result_of_four_videos["findings"])


def test_the_probe_is_never_tested_on_a_window_of_a_source_that_it_was_trained_on() -> None:
    choices = [
        Choice(np.zeros((2, 1)), np.zeros(2), 0, window_of(source, window))
        for source in range(4)
        for window in range(3)
    ]
    for train, test in _split(choices, 10, np.random.default_rng(0)):
        sources = [{source_of(choices[i].video_id) for i in part} for part in (train, test)]
        assert sources[0].isdisjoint(sources[1]) and len(sources[1]) == 1


def test_an_audit_of_one_video_is_an_error():
    store = tiny_policy.clips(1)
    with pytest.raises(SourceError, match="add videos"):
        run_audit(PRETEXT, frame_times(store), store, AuditParams())


@pytest.mark.parametrize(
    "wrong", [{"num_samples": 0}, {"folds": 1}, {"confidence": 1.0}, {"seed": -1}, {"perceptible_difference": 0.0}]
)
def test_a_parameter_out_of_range_is_an_error(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AuditParams(**wrong)


@pytest.mark.slow
@pytest.mark.skipif(not REAL_VIDEOS.is_dir(), reason="the real videos are not in the project")
def test_the_probe_finds_no_trace_in_real_videos_either(tmp_path):
    inventory = ingest_source(IngestParams(str(REAL_VIDEOS)), tmp_path / "made", 1)
    write_store(inventory.videos, tmp_path / "frames", FramesParams(max_pixels=16384, min_pixels=4096), 1)
    store = FrameStore(tmp_path / "frames")
    pretext = replace(PRETEXT, grounding=Grounding(num_frames=16, min_length=3, max_length=5))
    for kind in GATED_KINDS:
        assert not finding_of(OURS, kind, 120, store, pretext).is_above_blind
    assert finding_of(RENDERINGS["reference"], "grounding/mirror", 120, store, pretext).is_above_blind
