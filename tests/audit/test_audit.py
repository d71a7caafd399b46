"""The probe without vision: what it cannot see, what it can learn, and what it finds in frames written to files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simplejpeg import decode_jpeg

from tests.support import SHARED, tiny_policy
from videossr import rewards
from videossr.audit import GATED, AuditParams, audit, write_audit
from videossr.audit.features import measure_features
from videossr.audit.findings import find
from videossr.audit.probe import Choice, cross_validated, softmax
from videossr.audit.puzzles import posed
from videossr.audit.renderings import RENDERINGS, Rendering, edited_frames, rewritten
from videossr.audit.statistics import STATISTICS, clip_statistics
from videossr.clip import Clip
from videossr.dataset.build import build_train
from videossr.dataset.params import PretextParams, TrainSet
from videossr.errors import ConfigError, SourceError
from videossr.frames.encoding import encode_jpeg
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.ingest.inventory import ingest
from videossr.ingest.params import IngestParams
from videossr.pretext import Grounding
from videossr.records import FrameTimes

REAL = SHARED / "videos"
PRETEXT = PretextParams(**tiny_policy.TASKS)


def footage(store):
    return [FrameTimes(name, tuple(clip.times.tolist())) for name, clip in store.items()]


def puzzles_of(kind, count, store=None, pretext=PRETEXT):
    store = store or tiny_policy.clips(12)
    return build_train(replace(pretext, train=TrainSet(count, {kind: 1.0})), footage(store))


def found_in(way, kind, count=120, store=None, pretext=PRETEXT):
    store = store or tiny_policy.clips(12)
    seen = measure_features(pretext.tasks, puzzles_of(kind, count, store, pretext), {kind: [way]}, store)
    puzzles = posed(pretext.tasks[kind.split("/")[0]], seen.shown[kind, way.name])
    return find(kind, way.name, puzzles, 4, 0.99, np.random.default_rng(0))


@pytest.fixture(scope="module")
def small():
    """A whole audit of twelve made videos."""
    store = tiny_policy.clips(12)
    return audit(PRETEXT, footage(store), store, AuditParams(num_samples=48, folds=3))


@pytest.fixture(scope="module")
def few():
    """An audit of four videos, too few for an interval."""
    store = tiny_policy.clips(4)
    return audit(PRETEXT, footage(store), store, AuditParams(num_samples=4, folds=2))


# What the probe can see


@given(
    frames=st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).integers(0, 256, (3, 32, 64, 3), np.uint8)
    ),
    smooth=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_a_frame_has_the_statistics_of_its_mirror_image_upside_down_and_with_channels_exchanged(frames, smooth):
    if smooth:
        frames = rewritten(np.repeat(np.repeat(frames[:, ::8, ::8], 8, 1), 8, 2), 60)
    times = np.arange(3) / 2
    own = clip_statistics(Clip(frames, times))
    for same in (frames[:, :, ::-1], frames[:, ::-1], frames[:, ::-1, ::-1], frames[..., ::-1]):
        np.testing.assert_allclose(clip_statistics(Clip(np.ascontiguousarray(same), times)), own, rtol=1e-9, atol=1e-9)


def test_a_file_of_low_quality_leaves_its_mark_on_every_frame():
    clip = tiny_policy.clips(12)["video3"]
    before, after = (clip_statistics(c).T for c in (clip, Clip(rewritten(clip.frames, 75), clip.times)))
    for name, direction in (("luma: misfit to JPEG steps", -1), ("luma: zero coefficients", 1)):
        change = after[STATISTICS.index(name)] - before[STATISTICS.index(name)]
        assert (direction * change > 0).all(), name


def test_a_still_video_has_no_statistic_that_moves():
    still = Clip(np.repeat(tiny_policy.clips(12)["video0"].frames[:1], 16, axis=0), np.arange(16) / 3)
    found = found_in(RENDERINGS["ours"], "grounding/mirror", 24, {f"still{i}": still for i in range(6)})
    assert found.gain == 0.0


# What the probe can learn


def planted(groups, strength, seed=0):
    rng = np.random.default_rng(seed)
    choices = []
    for i in range(240):
        features, right = rng.standard_normal((9, 4)), int(rng.integers(9))
        features[right, 2] += strength
        choices.append(Choice(features, np.zeros(9), right, f"video{i % groups}"))
    return choices


def hits(choices, seed=1):
    found = cross_validated(choices, 4, np.random.default_rng(seed))
    return np.mean([np.argmax(p) == choice.right for p, choice in zip(found, choices, strict=True)])


def test_the_probe_learns_what_is_there_to_learn():
    assert hits(planted(12, 3.0)) > 0.85


def test_without_anything_to_learn_the_probe_falls_back_on_what_is_known_beforehand():
    choices = [replace(choice, prior=np.log(np.arange(1.0, 10.0))) for choice in planted(12, 0.0)]
    for found in cross_validated(choices, 4, np.random.default_rng(0)):
        np.testing.assert_allclose(found, softmax(choices[0].prior), atol=0.03)


def test_what_holds_in_one_video_alone_is_not_learnt():
    rng = np.random.default_rng(0)
    choices = []
    for video in range(12):
        favourite = rng.integers(9)
        for _ in range(20):
            features = np.zeros((9, 12))
            features[favourite, video] = 1.0
            choices.append(Choice(features, np.zeros(9), int(favourite), f"video{video}"))
    # Within a video the feature tells all; of another video it tells nothing.
    found = cross_validated(choices, 4, np.random.default_rng(0))
    assert max(p.max() for p in found) == pytest.approx(1 / 9)


def test_without_statistics_the_probe_gives_the_best_blind_answer():
    paper = replace(PRETEXT, grounding=Grounding())
    clip = Clip(np.repeat(np.zeros((1, 32, 32, 3), np.uint8), 48, axis=0), np.arange(48.0))
    found = found_in(RENDERINGS["ours"], "grounding/mirror", 150, {f"v{i}": clip for i in range(12)}, paper)
    assert found.probe == found.floor == pytest.approx(0.307, abs=0.04)


# What it finds


@pytest.mark.parametrize("kind", GATED)
def test_our_frames_tell_the_probe_nothing(kind):
    found = found_in(RENDERINGS["ours"], kind, 240)
    assert found.interval[0] <= 0 <= found.interval[1]
    assert found.tells == ()


@pytest.mark.parametrize("kind", [kind for kind in GATED if kind != "grounding/shuffle"])
def test_edited_frames_saved_beside_the_others_give_the_interval_away(kind):
    found = found_in(RENDERINGS["reference"], kind)
    assert found.probe > 0.8 and found.interval[0] > 0.3
    assert "luma: misfit to JPEG steps" in found.tells


def test_a_clock_that_ticks_otherwise_in_the_edit_is_found():
    def hastened(sample, clips):
        steps = np.diff(clips[0].times, prepend=-1)
        steps[sample.edit["start"] : sample.edit["start"] + sample.edit["length"]] *= 0.999
        return [Clip(clips[0].frames, np.cumsum(steps) - 1)]

    found = found_in(Rendering("hastened", "", False, hastened), "grounding/mirror")
    assert found.above and "step of the clock" in found.tells


def test_a_number_that_knows_red_from_blue_would_find_a_swap_of_channels_in_stored_jpeg():
    """Why no statistic does: stored frames lie on JPEG's steps of brightness, until red and blue change places.

    The audit says so; it is a trace of the edit itself in how frames are stored, not of how edited ones were written.
    """
    stored = decode_jpeg(encode_jpeg(tiny_policy.clips(12)["video3"].frames[0]), "RGB")

    def change_when_stored_again(frame):
        return np.abs(decode_jpeg(encode_jpeg(frame), "RGB").astype(int) - frame).mean()

    swapped, mirrored = (np.ascontiguousarray(one) for one in (stored[..., ::-1], stored[:, ::-1]))
    assert change_when_stored_again(swapped) > 2 * change_when_stored_again(stored)
    assert change_when_stored_again(mirrored) < 1.5 * change_when_stored_again(stored)


def test_only_painted_frames_are_saved_anew():
    by_kind = {sample.kind: sample for sample in tiny_policy.samples(8)}
    mirrored, counted = by_kind["grounding/mirror"], by_kind["counting/easy"]
    assert edited_frames(mirrored) == [mirrored.edit["start"] + i for i in range(mirrored.edit["length"])]
    assert edited_frames(counted) == sorted({shape["frame"] for shape in counted.edit["shapes"]})
    assert edited_frames(puzzles_of("grounding/shuffle", 1)[0]) == []
    assert edited_frames(by_kind["jigsaw/8"]) == []


@pytest.mark.parametrize("kind", ["grounding/mirror", "counting/hard", "jigsaw/8"])
def test_every_reply_of_the_probe_has_the_form_that_was_asked_for(kind):
    store, task = tiny_policy.clips(12), kind.split("/")[0]
    seen = measure_features(PRETEXT.tasks, puzzles_of(kind, 12), {kind: [RENDERINGS["ours"]]}, store)
    for puzzle in posed(PRETEXT.tasks[task], seen.shown[kind, "ours"]):
        reply = puzzle.reply([softmax(choice.prior) for choice in puzzle.choices])
        assert rewards.parsed(task, reply, puzzle.sample.answer)


def test_certainty_about_the_right_answer_is_paid_in_full():
    for kind in ("grounding/mirror", "counting/hard"):
        task = kind.split("/")[0]
        seen = measure_features(
            PRETEXT.tasks, puzzles_of(kind, 12), {kind: [RENDERINGS["ours"]]}, tiny_policy.clips(12)
        )
        for puzzle in posed(PRETEXT.tasks[task], seen.shown[kind, "ours"]):
            sure = [np.eye(len(choice.prior))[choice.right] for choice in puzzle.choices]
            assert rewards.score(task, puzzle.reply(sure), puzzle.sample.answer) == pytest.approx(1.0)


# The audit as a whole


def test_the_audit_passes_our_frames_and_hears_the_published_ones(small):
    assert small["verdict"] == "passed"
    gains = {(row["kind"], row["way"]): row["interval"][0] for row in small["findings"]}
    assert all(gains[kind, "ours"] <= 0 for kind in GATED)
    assert gains["grounding/mirror", "reference"] > 0.3


def test_every_kind_is_asked_or_the_reason_told(small):
    asked = {row["kind"] for row in small["perceptibility"]}
    everything = {f"{name}/{variant}" for name, task in PRETEXT.tasks.items() for variant in task.variants}
    assert asked | set(small["left_out"]) == everything
    assert "16 stored and 12 shown" in small["left_out"]["jigsaw/6"]


def test_the_share_of_edits_that_can_be_seen_is_told(small):
    shares = {row["kind"]: row["share"] for row in small["perceptibility"]}
    assert shares["grounding/invert"] == 1.0
    assert all(0 <= share <= 1 for share in shares.values())


def test_the_same_audit_gives_the_same_bytes(few, tmp_path):
    store = tiny_policy.clips(4)
    again = audit(PRETEXT, footage(store)[::-1], store, AuditParams(num_samples=4, folds=2))
    for name, result in (("one", few), ("other", again)):
        write_audit(result, tmp_path / name)
    for file in ("audit.json", "audit.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_the_page_tells_the_verdict_and_needs_no_network(small, tmp_path):
    page = write_audit(small, tmp_path).read_text()
    assert "Passed." in page and "red from blue" in page and "data:image/svg+xml" in page and "http" not in page
    assert json.loads((tmp_path / "audit.json").read_text()) == json.loads(json.dumps(small))


def test_few_videos_prove_nothing(few):
    assert few["verdict"] == "inconclusive"
    assert all(row["interval"] == (-1.0, 1.0) for row in few["findings"])


def test_one_video_cannot_be_audited():
    store = tiny_policy.clips(1)
    with pytest.raises(SourceError, match="add videos"):
        audit(PRETEXT, footage(store), store, AuditParams())


@pytest.mark.parametrize(
    "wrong", [{"num_samples": 0}, {"folds": 1}, {"confidence": 1.0}, {"seed": -1}, {"perceptible_difference": 0.0}]
)
def test_a_value_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AuditParams(**wrong)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips lie beside the project, not in it")
def test_real_clips_tell_the_probe_nothing_either(tmp_path):
    inventory = ingest(IngestParams(str(REAL)), tmp_path / "made", 1)
    write_store(inventory.videos, tmp_path / "frames", FramesParams(max_pixels=16384, min_pixels=4096), 1)
    store = FrameStore(tmp_path / "frames")
    pretext = replace(PRETEXT, grounding=Grounding(num_frames=16, min_length=3, max_length=5))
    for kind in GATED:
        assert not found_in(RENDERINGS["ours"], kind, 120, store, pretext).above
    assert found_in(RENDERINGS["reference"], "grounding/mirror", 120, store, pretext).above
