"""The evaluator: which questions are asked, with which frames, and what is kept of the replies."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from videossr.errors import ConfigError
from videossr.evaluation import load
from videossr.evaluation.benchmarks import FoundVideos, Items, find_videos, score
from videossr.evaluation.downstream import Answers, FrameBudget, answer_items, read_answers
from videossr.models.policy import FailedReply, Prompt, ScriptedPolicy

BUDGET = FrameBudget(num_frames=8, min_pixels=32 * 32)


def load_made(folder: Path, key: str) -> tuple[Items, FoundVideos]:
    items = load(key, folder / key, counts=False)
    return items, find_videos(items, folder / key)


def answer(policy: Any, made: tuple[Items, FoundVideos], out: Path, **changed: Any) -> Answers:
    options: dict[str, Any] = {"budget": BUDGET, "protocol": "videossr", "policy_id": "scripted", "batch_size": 4}
    return answer_items(policy, *made, out, **{**options, "progress": False, **changed})


@dataclass
class Recorder:
    """Replies with `answer(prompt)`, and keeps the prompts of each call. It stops after `calls_left` calls."""

    answer: Callable[[Prompt], str | FailedReply] = lambda prompt: "A"
    calls_left: int = 1000
    batches: list[list[Prompt]] = field(default_factory=list)

    def respond(self, prompts: Sequence[Prompt]) -> list[str | FailedReply]:
        if self.calls_left == 0:
            raise KeyboardInterrupt
        self.calls_left -= 1
        self.batches.append(list(prompts))
        return [self.answer(prompt) for prompt in prompts]

    @property
    def texts(self) -> list[str]:
        return [prompt.text for batch in self.batches for prompt in batch]


@pytest.mark.parametrize("key", ["charadessta", "videomme", "cvbench"])
def test_every_question_is_asked_once_and_the_replies_are_scored(made, tmp_path, key):
    items, found = load_made(made, key)
    policy = Recorder()
    answers = answer(policy, (items, found), tmp_path)
    assert len(policy.texts) == len(answers.replies) == len(items) and not answers.errors and not answers.missing
    assert answers.replies.keys() == {item.id for item in items}
    counts = score(items, answers.for_scoring, num_resamples=10).counts
    assert counts.answered == counts.questions == len(items)
    assert read_answers(answers.path) == answers


def test_a_reply_is_that_to_its_own_question(made, tmp_path):
    items, found = load_made(made, "videomme")
    answers = answer(ScriptedPolicy(lambda prompt: prompt.text), (items, found), tmp_path)
    for item in items:
        reply = answers.replies[item.id]
        assert item.question in reply and all(text in reply for text in item.options)
    assert len(set(answers.replies.values())) == len(items), "the questions differ in their options"


def test_the_questions_of_a_video_follow_one_another_and_have_its_clips_in_common(made, tmp_path):
    policy = Recorder()
    answer(policy, load_made(made, "videomme"), tmp_path)
    for batch in policy.batches:
        first, second, third, fourth = (prompt.clips for prompt in batch)
        assert first is second and third is fourth and second is not third, "two questions a video"


def test_a_prompt_has_the_text_the_frames_and_the_settings_of_the_protocol(made, tmp_path):
    items, found = load_made(made, "cvbench")
    policy = Recorder()
    answers = answer(policy, (items, found), tmp_path, protocol="official")
    prompts = items.benchmark.prompts["official"]
    for prompt in (prompt for batch in policy.batches for prompt in batch):
        assert prompt.text.startswith("<video>\n<video>\n") and "listed all videos" in prompt.text
        assert prompt.reply_tokens == prompts.reply_tokens and prompt.system == prompts.system
        assert all(len(clip) <= 8 // len(prompt.clips) for clip in prompt.clips), "its videos share the frames"
    item = items[0]
    assert [len(times) for times in answers.times[item.id]] == [8 // len(item.videos) // 2 * 2] * len(item.videos)
    each = Recorder()
    answer(each, (items, found), tmp_path)
    assert {len(clip) for batch in each.batches for prompt in batch for clip in prompt.clips} == {6}


def test_the_next_call_asks_nothing_again(made, tmp_path):
    first = answer(Recorder(), load_made(made, "videomme"), tmp_path)
    again = Recorder(answer=lambda prompt: "B")
    assert answer(again, load_made(made, "videomme"), tmp_path) == first and again.batches == []


@pytest.mark.parametrize(
    "changed",
    [
        {"policy_id": "another"},
        {"protocol": "official"},
        {"budget": replace(BUDGET, num_frames=6)},
        {"budget": replace(BUDGET, max_pixels=64 * 64)},
        {"budget": replace(BUDGET, fps=1.0)},
    ],
)
def test_another_setting_is_another_file(made, tmp_path, changed):
    first = answer(Recorder(), load_made(made, "videomme"), tmp_path)
    policy = Recorder(answer=lambda prompt: "B")
    second = answer(policy, load_made(made, "videomme"), tmp_path, **changed)
    assert second.path != first.path and set(second.replies.values()) == {"B"}
    assert set(read_answers(first.path).replies.values()) == {"A"}


def test_the_settings_of_a_policy_are_part_of_the_header(made, tmp_path):
    policy = Recorder()
    first = answer(policy, load_made(made, "videomme"), tmp_path)
    policy.settings = {"dtype": "bfloat16"}
    second = answer(policy, load_made(made, "videomme"), tmp_path)
    assert first.path != second.path and second.header["decoding"]["dtype"] == "bfloat16"


def test_a_run_that_was_stopped_goes_on_with_the_same_batches(made, tmp_path):
    whole = Recorder()
    expected = answer(whole, load_made(made, "videomme"), tmp_path / "whole")
    stopped = Recorder(calls_left=1)
    with pytest.raises(KeyboardInterrupt):
        answer(stopped, load_made(made, "videomme"), tmp_path)
    rest = Recorder()
    resumed = answer(rest, load_made(made, "videomme"), tmp_path)
    assert resumed.replies == expected.replies and resumed.path.read_bytes() == expected.path.read_bytes()
    assert [[p.text for p in batch] for batch in stopped.batches + rest.batches] == [
        [p.text for p in batch] for batch in whole.batches
    ]


def test_a_limit_asks_the_first_questions_of_the_file_and_a_later_call_the_others(made, tmp_path):
    items, found = load_made(made, "videomme")
    few = Recorder()
    answers = answer(few, (items, found), tmp_path, limit=3)
    assert answers.replies.keys() == {item.id for item in items[:3]} and len(few.texts) == 3
    assert score(items.first(3), answers.for_scoring, num_resamples=10).counts.questions == 3
    rest = Recorder()
    whole = answer(rest, (items, found), tmp_path)
    assert len(rest.texts) == len(items) - 3 and whole.path == answers.path and len(whole.replies) == len(items)


def test_shards_ask_every_question_once_between_them(made, tmp_path):
    items, found = load_made(made, "videomme")
    policies = [Recorder() for _ in range(3)]
    parts = [answer(policy, (items, found), tmp_path, shard=(i, 3)) for i, policy in enumerate(policies)]
    whole = Recorder()
    answer(whole, (items, found), tmp_path / "whole")
    assert sorted(text for policy in policies for text in policy.texts) == sorted(whole.texts)
    assert all(policy.texts for policy in policies)
    assert parts[-1].replies.keys() == {item.id for item in items} and len({part.path for part in parts}) == 1


def test_a_question_without_its_video_is_named_and_not_asked(made, tmp_path):
    items, found = load_made(made, "videomme")
    gone = items[0].videos[0].path
    present = {path: file for path, file in found.present.items() if path != gone}
    lacking = frozenset(item.id for item in items if item.videos[0].path == gone)
    policy = Recorder()
    answers = answer(policy, (items, FoundVideos(present, (gone,), lacking, len(items))), tmp_path)
    assert answers.missing == (gone,) and answers.replies.keys() == {item.id for item in items} - lacking
    counts = score(items, answers.for_scoring, num_resamples=10).counts
    assert counts.missing == len(lacking) == 2 and counts.questions == len(items)


def test_a_video_that_does_not_decode_is_an_error_of_its_questions_and_tried_again(made, tmp_path):
    items, found = load_made(made, "videomme")
    path = items[0].videos[0].path
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(found.present[path].read_bytes()[:2000])
    broken = replace(found, present={**found.present, path: damaged})
    answers = answer(Recorder(), (items, broken), tmp_path / "out")
    hit = {item.id for item in items if item.videos[0].path == path}
    assert answers.errors.keys() == hit and all(text.split(":")[0] for text in answers.errors.values())
    assert answers.replies.keys() == {item.id for item in items} - hit
    assert score(items, answers.for_scoring, num_resamples=10).counts.failed == 2
    later = Recorder()
    mended = answer(later, (items, found), tmp_path / "out")
    assert mended.errors == {} and len(later.texts) == 2 and len(mended.replies) == len(items)


def test_a_failed_reply_is_an_error_and_never_an_answer(made, tmp_path):
    def fail_first(prompt):
        return FailedReply("no reply within 60 s") if "first" in prompt.text else "A"

    answers = answer(Recorder(fail_first), load_made(made, "videomme"), tmp_path)
    assert set(answers.errors.values()) == {"no reply within 60 s"} and len(answers.errors) == 6
    rows = [json.loads(line) for line in answers.path.with_suffix(".errors.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == answers.errors.keys() and len(rows) == 6
    answer(Recorder(fail_first), load_made(made, "videomme"), tmp_path)
    assert len(answers.path.with_suffix(".errors.jsonl").read_text().splitlines()) == 6, (
        "the same error is not repeated"
    )


@pytest.mark.parametrize("reply", ["", "<|video_pad|>", '\x00\u2028\n{"id": 1}', "\ud800"])
def test_any_reply_is_kept_as_it_is(made, tmp_path, reply):
    items, found = load_made(made, "videomme")
    answers = answer(ScriptedPolicy(lambda prompt: reply), (items, found), tmp_path)
    assert set(read_answers(answers.path).replies.values()) == {reply} and len(answers.replies) == len(items)
    assert score(items, answers.for_scoring, num_resamples=10).counts.parsed == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"protocol": "lmms"}, "a protocol must be one of videossr, official, got 'lmms'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"shard": (2, 2)}, "got 2 of 2"),
    ],
)
def test_a_wrong_argument_is_one_sentence(made, tmp_path, changed, message):
    with pytest.raises(ConfigError, match=message):
        answer(Recorder(), load_made(made, "videomme"), tmp_path, **changed)
