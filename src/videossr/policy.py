"""What answers questions about videos: the protocol, its input, and a scripted fake that is shipped, not mocked."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from videossr.errors import PolicyError
from videossr.frames import Clip

VIDEO_MARKER = "<video>"


@dataclass(frozen=True)
class Prompt:
    """One question: `text` holds one `<video>` marker for each of `clips`, in order."""

    text: str
    clips: tuple[Clip, ...]

    def __post_init__(self) -> None:
        markers = self.text.count(VIDEO_MARKER)
        if markers != len(self.clips):
            raise PolicyError(f"a prompt needs one {VIDEO_MARKER} marker a clip, got {markers} for {len(self.clips)}")


def folder_digest(folder: Path) -> str:
    """Hex SHA-256 over the names and bytes of every file below `folder`: what tells one checkpoint from another."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class Policy(Protocol):
    """Anything that replies to prompts, one reply a prompt, in order."""

    def respond(self, prompts: Sequence[Prompt]) -> list[str]: ...


@dataclass(frozen=True)
class ScriptedPolicy:
    """A policy that answers by a function of the prompt: for tests, demonstrations and blind baselines."""

    answer: Callable[[Prompt], str]

    def respond(self, prompts: Sequence[Prompt]) -> list[str]:
        return [self.answer(prompt) for prompt in prompts]
