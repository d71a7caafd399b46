"""The task shown in docs/new-task.md keeps the rules of every task: its code is taken from the page."""

import re
import sys
import types
from typing import Any

import numpy as np
import pytest

from tests.support import ROOT
from videossr import rewards
from videossr.clip import Clip
from videossr.records import FrameTimes

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/new-task.md").read_text(encoding="utf-8"), re.DOTALL)
TIMES = np.arange(48) / 4
STORE = {"v": Clip(np.random.default_rng(0).integers(0, 256, (48, 32, 64, 3), dtype=np.uint8), TIMES)}
VIDEO = FrameTimes("v", tuple(TIMES.tolist()))


def load(block: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)  # a dataclass looks its module up
    exec(compile(block, name, "exec"), module.__dict__)
    return module


def test_the_shown_task_keeps_the_rules_of_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load(BLOCKS[0], "backwards", monkeypatch).Backwards()
    answers = set()
    for seed in range(20):
        sample = task.generate(VIDEO, "half", np.random.default_rng(seed))
        assert sample == task.generate(VIDEO, "half", np.random.default_rng(seed))
        assert sample.answer == task.answer(sample.edit, VIDEO.times)
        before = STORE["v"].frames.copy()
        (clip,), (clean,) = task.render(sample, STORE), task.render_clean(sample, STORE)
        np.testing.assert_array_equal(STORE["v"].frames, before)
        np.testing.assert_array_equal(clip.times, clean.times)
        half = slice(8) if sample.answer == "1" else slice(8, None)
        other = slice(8, None) if sample.answer == "1" else slice(8)
        np.testing.assert_array_equal(clip.frames[other], clean.frames[other])
        np.testing.assert_array_equal(clip.frames[half], clean.frames[half][::-1])
        assert task.fits(VIDEO, "half") and task.perceptibility(sample, STORE) > 0
        answers.add(sample.answer)
    assert answers == {"1", "2"}


def test_the_shown_rule_scores_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = load(BLOCKS[1], "backwards_rules", monkeypatch).rules
    monkeypatch.setitem(rewards._RULES, "backwards", rules)
    assert rewards.score("backwards", " 2 ", "2") == rewards.metric("backwards", "2", "2") == 1.0
    assert rewards.score("backwards", "1", "2") == rewards.score("backwards", "both", "2") == 0.0
    assert not rewards.parsed("backwards", "both", "2")
    with pytest.raises(ValueError, match="must be 1 or 2"):
        rewards.score("backwards", "1", "3")
