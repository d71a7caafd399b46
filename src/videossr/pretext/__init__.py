"""The pretext tasks: questions about raw videos whose answers are computed, not annotated. Register a task in TASKS."""

from videossr.pretext.counting import Counting
from videossr.pretext.grounding import Grounding
from videossr.pretext.jigsaw import Jigsaw
from videossr.pretext.protocol import PretextTask

TASKS: dict[str, type[Grounding] | type[Counting] | type[Jigsaw]] = {
    "grounding": Grounding,
    "counting": Counting,
    "jigsaw": Jigsaw,
}

__all__ = ["TASKS", "Counting", "Grounding", "Jigsaw", "PretextTask"]
