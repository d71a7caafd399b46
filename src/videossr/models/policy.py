"""The policy protocol, its input (a prompt), a policy without the video, and one that is a function of the prompt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from videossr.clip import Clip
from videossr.errors import PolicyError
from videossr.pretext import PretextTask
from videossr.records import VIDEO_MARKER, Sample


@dataclass(frozen=True)
class Prompt:
    """One question about videos: `text` holds one `<video>` marker per clip, in the order of `clips`.

    `system` replaces the system prompt of training where it is not empty, and `reply_tokens` the policy's own limit of
    tokens for a reply where it is given. Prompts that hold the same `Clip` objects ask about the same videos, which a
    policy may then read once.
    """

    text: str
    clips: tuple[Clip, ...]
    system: str = ""
    reply_tokens: int | None = None

    def __post_init__(self) -> None:
        markers = self.text.count(VIDEO_MARKER)
        if markers != len(self.clips):
            raise PolicyError(
                f"a prompt needs one {VIDEO_MARKER} marker a clip, got {markers} markers for {len(self.clips)} clips"
            )


def render_prompt(sample: Sample, task: PretextTask, store: Mapping[str, Clip]) -> Prompt:
    """The prompt of a sample: its question, and the clips that `task` renders from the stored videos."""
    return Prompt(sample.question, tuple(task.render(sample, store)))


class Policy(Protocol):
    """Replies to prompts: `respond` returns one reply per prompt, in order."""

    def respond(self, prompts: Sequence[Prompt]) -> list[str]: ...


@dataclass(frozen=True)
class FailedReply:
    """In place of a reply: why there is none. It is counted, and never an answer."""

    error: str


class FalliblePolicy(Protocol):
    """A policy that may fail to reply to some of the prompts, such as one behind a network. Every `Policy` is one."""

    def respond(self, prompts: Sequence[Prompt]) -> Sequence[str | FailedReply]: ...


@dataclass(frozen=True)
class BlindPolicy:
    """A policy without the video: `policy` gets grey frames of the same size at the same times.

    What it then scores it owes to the question, to the times and to habit. Without any frames the prompt would have
    another form, and the times of the frames would be missing too.
    """

    policy: FalliblePolicy

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the policy, where it has any."""
        return getattr(self.policy, "settings", {})

    def respond(self, prompts: Sequence[Prompt]) -> list[Any]:
        """One reply per prompt, in order. Prompts about the same clips stay prompts about the same clips."""
        grey = {id(clip): _grey(clip) for prompt in prompts for clip in prompt.clips}
        hidden = [replace(prompt, clips=tuple(grey[id(clip)] for clip in prompt.clips)) for prompt in prompts]
        return list(self.policy.respond(hidden))


def _grey(clip: Clip) -> Clip:
    return Clip(np.full_like(clip.frames, 128), clip.times)


@dataclass(frozen=True)
class BriefPolicy:
    """`policy` with replies of at most `reply_tokens` tokens, also where a prompt leaves room for more."""

    policy: Policy
    reply_tokens: int

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the policy, where it has any, and the limit."""
        return {**getattr(self.policy, "settings", {}), "reply_tokens_at_most": self.reply_tokens}

    def respond(self, prompts: Sequence[Prompt]) -> list[str]:
        limits = [min(prompt.reply_tokens or self.reply_tokens, self.reply_tokens) for prompt in prompts]
        return self.policy.respond(
            [replace(prompt, reply_tokens=limit) for prompt, limit in zip(prompts, limits, strict=True)]
        )


@dataclass(frozen=True)
class ScriptedPolicy:
    """A policy that replies with `answer(prompt)`: for tests, demonstrations and blind baselines."""

    answer: Callable[[Prompt], str]

    def respond(self, prompts: Sequence[Prompt]) -> list[str]:
        return [self.answer(prompt) for prompt in prompts]
