"""The evaluation runner: every reply is scored and stored, and a killed run continues after its last batch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from videossr import rewards
from videossr.clip import Clip
from videossr.errors import ConfigError
from videossr.evaluation.runner import (
    EvaluateParams,
    evaluate,
    read_scored_replies,
    samples_digest,
    score_reply,
    write_scored_replies,
)
from videossr.models.policy import BlindPolicy, BriefPolicy, Prompt, ScriptedPolicy
from videossr.pretext import TASKS, Counting, Grounding, Jigsaw, PretextTask
from videossr.records import FrameTimes, Sample
from videossr.storage.fingerprint import folder_fingerprint

TASK_PARAMS: dict[str, PretextTask] = {
    "grounding": Grounding(num_frames=16, min_length=3, max_length=5),
    "counting": Counting(num_frames=16, min_gap=2),
    "jigsaw": Jigsaw(frames_per_clip_6=2, frames_per_clip_8=2),
}
TIMES = tuple(np.arange(48) * 0.25)


def random_clip(seed: int) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)
    return Clip(frames, np.array(TIMES))


STORE = {f"video{i}": random_clip(i) for i in range(3)}


def make_samples(count: int = 10) -> list[Sample]:
    kinds = [("grounding", "mirror"), ("counting", "easy"), ("jigsaw", "6")]
    samples = []
    for index in range(count):
        task, variant = kinds[index % 3]
        frame_times = FrameTimes(f"video{index % len(STORE)}", TIMES)
        sample = TASK_PARAMS[task].generate(frame_times, variant, np.random.default_rng(index))
        samples.append(replace(sample, sample_id=f"question-{index}"))
    return samples


@dataclass
class ReplayPolicy:
    """A policy that returns the next of `replies` and records its prompts.

    It raises KeyboardInterrupt after `stop_after_batches` batches.
    """

    replies: Sequence[str]
    stop_after_batches: int | None = None
    batches: list[list[Prompt]] = field(default_factory=list)

    def respond(self, prompts: Sequence[Prompt]) -> list[str]:
        if self.stop_after_batches is not None and len(self.batches) >= self.stop_after_batches:
            raise KeyboardInterrupt
        start = sum(map(len, self.batches))
        self.batches.append(list(prompts))
        return list(self.replies[start : start + len(prompts)])


def run(policy: object, samples: Sequence[Sample], out: Path, policy_id: str = "p", batch_size: int = 4) -> list:  # type: ignore[type-arg]
    return evaluate(
        policy,  # type: ignore[arg-type]
        samples,
        STORE,
        TASK_PARAMS,
        out,
        batch_size=batch_size,
        policy_id=policy_id,
        progress=False,
    )


def test_a_policy_that_replies_with_the_answers_scores_one_everywhere(tmp_path: Path) -> None:
    samples = make_samples()
    scored = run(ReplayPolicy([sample.answer for sample in samples]), samples, tmp_path / "after.jsonl")
    assert [item.sample_id for item in scored] == [sample.sample_id for sample in samples]
    assert all(item.score == 1 and item.parsed for item in scored)


def test_an_unparsable_reply_stays_in_the_denominator(tmp_path: Path) -> None:
    samples = make_samples(9)
    scored = run(ScriptedPolicy(lambda prompt: "I cannot tell."), samples, tmp_path / "out.jsonl")
    assert len(scored) == 9
    assert not any(item.parsed for item in scored)
    assert [item.score for item in scored] == [0.0] * 9


def test_a_wrong_reply_in_the_right_form_is_parsed_and_scored_by_the_metric_of_its_task() -> None:
    samples = make_samples(9)
    for sample in samples:
        reply = {"grounding": "0.0-12.0", "counting": "1,1,1", "jigsaw": "654321"}[sample.task]
        item = score_reply(sample, reply)
        assert item.parsed
        assert item.score == rewards.metric(sample.task, reply, sample.answer) < 1


def test_the_policy_gets_the_rendered_samples_in_batches(tmp_path: Path) -> None:
    samples = make_samples(10)
    policy = ReplayPolicy([sample.answer for sample in samples])
    run(policy, samples, tmp_path / "out.jsonl")
    assert [len(batch) for batch in policy.batches] == [4, 4, 2]
    prompts = [prompt for batch in policy.batches for prompt in batch]
    for sample, prompt in zip(samples, prompts, strict=True):
        rendered = TASK_PARAMS[sample.task].render(sample, STORE)
        assert prompt.text == sample.question
        assert all((a.frames == b.frames).all() for a, b in zip(prompt.clips, rendered, strict=True))


def test_a_killed_run_continues_after_its_last_batch_and_ends_with_the_same_file(tmp_path: Path) -> None:
    samples = make_samples(10)
    answers = [sample.answer for sample in samples]
    whole = run(ReplayPolicy(answers), samples, tmp_path / "whole.jsonl")
    out = tmp_path / "killed.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(ReplayPolicy(answers, stop_after_batches=2), samples, out)
    assert len(read_scored_replies(out)) == 8
    continued = ReplayPolicy(answers[8:])
    assert run(continued, samples, out) == whole
    assert [len(batch) for batch in continued.batches] == [2]
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("missing_bytes", [1, 30, 200, 700, 1500])
def test_a_truncated_file_is_completed_and_batches_start_at_the_same_samples(
    tmp_path: Path, missing_bytes: int
) -> None:
    samples = make_samples(10)
    answers = [sample.answer for sample in samples]
    out = tmp_path / "out.jsonl"
    run(ReplayPolicy(answers), samples, out)
    whole = out.read_bytes()
    out.write_bytes(whole[:-missing_bytes])
    num_reused = len(read_scored_replies(out)) // 4 * 4
    continued = ReplayPolicy(answers[num_reused:])
    run(continued, samples, out)
    assert out.read_bytes() == whole
    assert sum(map(len, continued.batches)) == 10 - num_reused > 0


def test_replies_after_a_damaged_line_are_generated_again(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    samples = make_samples(10)
    answers = [sample.answer for sample in samples]
    run(ReplayPolicy(answers), samples, out)
    lines = out.read_bytes().splitlines(keepends=True)
    lines[6] = b"\x00" * 40 + b"\n"
    out.write_bytes(b"".join(lines))
    assert len(read_scored_replies(out)) == 5
    run(ReplayPolicy(answers[4:]), samples, out)
    assert len(read_scored_replies(out)) == 10


def test_a_complete_file_is_read_without_calling_the_policy(tmp_path: Path) -> None:
    samples = make_samples(10)
    out = tmp_path / "out.jsonl"
    first = run(ReplayPolicy([sample.answer for sample in samples]), samples, out)
    again = ReplayPolicy([])
    assert run(again, samples, out) == first
    assert again.batches == []


@pytest.mark.parametrize("change", ["policy", "samples"])
def test_stored_replies_of_another_policy_or_to_other_samples_are_not_used(tmp_path: Path, change: str) -> None:
    samples = make_samples(10)
    out = tmp_path / "out.jsonl"
    run(ScriptedPolicy(lambda prompt: "old"), samples, out)
    if change == "samples":
        samples = [replace(samples[0], answer="0.0-1.0"), *samples[1:]]
    scored = run(ScriptedPolicy(lambda prompt: "new"), samples, out, "other" if change == "policy" else "p")
    assert {item.reply for item in scored} == {"new"}
    assert {item.reply for item in read_scored_replies(out)} == {"new"}


def test_stored_scores_are_ignored_and_computed_again(tmp_path: Path) -> None:
    samples = make_samples(4)
    out = tmp_path / "out.jsonl"
    run(ScriptedPolicy(lambda prompt: "nothing"), samples, out)
    header, *rows = (json.loads(line) for line in out.read_text().splitlines())
    out.write_text("\n".join(json.dumps(row) for row in [header, *({**row, "score": 1.0} for row in rows)]) + "\n")
    assert [item.score for item in run(ReplayPolicy([]), samples, out)] == [0.0] * 4


def test_a_policy_that_returns_too_few_replies_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        run(ReplayPolicy(["1"]), make_samples(4), tmp_path / "out.jsonl")


def test_any_text_of_a_reply_is_read_back_unchanged(tmp_path: Path) -> None:
    reply = 'line\nbreak \u2028 "quotes" \ud800 lone surrogate \x00'
    samples = make_samples(4)
    run(ScriptedPolicy(lambda prompt: reply), samples, tmp_path / "out.jsonl")
    assert {item.reply for item in read_scored_replies(tmp_path / "out.jsonl")} == {reply}


def test_scored_replies_are_read_back_as_written(tmp_path: Path) -> None:
    scored = [score_reply(sample, "1,2,3") for sample in make_samples(5)]
    write_scored_replies(tmp_path / "deep" / "random.jsonl", scored, {"policy": "random"})
    assert read_scored_replies(tmp_path / "deep" / "random.jsonl") == scored


def test_digests_change_with_the_order_of_samples_and_with_names_and_bytes_of_a_policys_files(tmp_path: Path) -> None:
    samples = make_samples(3)
    assert samples_digest(samples) == samples_digest(make_samples(3))
    assert samples_digest(samples) != samples_digest(samples[::-1])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"1")
    first = folder_fingerprint(tmp_path / "model")
    (tmp_path / "model" / "weights").write_bytes(b"2")
    other_bytes = folder_fingerprint(tmp_path / "model")
    (tmp_path / "model" / "weights").rename(tmp_path / "model" / "renamed")
    assert len({first, other_bytes, folder_fingerprint(tmp_path / "model")}) == 3


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"bootstrap_samples": 5}, {"seed": -1}])
def test_a_parameter_out_of_range_is_an_error(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        EvaluateParams(**bad)


def test_these_tests_cover_every_task() -> None:
    assert TASKS.keys() == TASK_PARAMS.keys()


def test_the_blind_policy_gets_the_same_question_and_times_and_no_pixel_of_the_video(tmp_path: Path) -> None:
    samples = make_samples(6)
    seeing, asked = ReplayPolicy(["?"] * 6), ReplayPolicy(["?"] * 6)
    run(seeing, samples, tmp_path / "seeing.jsonl")
    run(BlindPolicy(asked), samples, tmp_path / "blind.jsonl")
    pairs = zip(sum(seeing.batches, []), sum(asked.batches, []), strict=True)
    for seen, blind in pairs:
        assert seen.text == blind.text
        for clip, grey in zip(seen.clips, blind.clips, strict=True):
            assert grey.frames.shape == clip.frames.shape and (grey.times == clip.times).all()
            assert len(np.unique(grey.frames)) == 1 < len(np.unique(clip.frames))


def test_a_brief_policy_leaves_a_prompt_no_more_tokens_than_its_limit() -> None:
    asked = ReplayPolicy(["?"] * 3)
    prompts = [Prompt("?", (), reply_tokens=limit) for limit in (None, 4, 128)]
    policy = BriefPolicy(asked, 12)
    assert policy.respond(prompts) == ["?"] * 3
    assert [prompt.reply_tokens for prompt in asked.batches[0]] == [12, 4, 12]
    assert policy.settings == {"reply_tokens_at_most": 12}
