"""Ask a policy the questions of a benchmark: frames as the protocol says, replies in a store that survives a kill."""

from videossr.evaluation.downstream.frames import FrameBudget, load_clips
from videossr.evaluation.downstream.policies import NamedPolicy, open_policy
from videossr.evaluation.downstream.run import Answers, answer_items, read_answers
from videossr.evaluation.downstream.store import ReplyStore

__all__ = [
    "Answers",
    "FrameBudget",
    "NamedPolicy",
    "ReplyStore",
    "answer_items",
    "load_clips",
    "open_policy",
    "read_answers",
]
