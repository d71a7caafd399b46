"""The gate before training (stage `validate`): rules that the data must pass before a policy is trained on it.

Rules check the outputs of all earlier stages: the manifest and the quarantine, the frame store, both sets of samples,
and some rendered samples. If a rule fails, the stage fails and its report names the rows. `suites` lists the rules of
each table, with one sentence for each rule; the thresholds are `ValidateParams`.

- The answer is derived again from the edit and the frame times and must equal the answer of the sample. The reward of
  the task must give it 1.
- No video is used in both training and benchmark, not even as a donor of frames.
- Edits stay within the parameters of their task. No answer is so frequent that a constant guess scores well.
- Some samples of each task and variant are rendered and compared with the unedited clip, because an edit can be
  invisible: a mirrored symmetric picture, swapped channels of a grey one. A few are warnings; many fail the gate.

Importing great_expectations takes seconds: only this package does so, and only in `validate`. The
parameters are read without it, and without pandas.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videossr.gates.results import Check, GateFailure, GateResult, ValidateParams
from videossr.pretext import PretextTask
from videossr.records import RejectedFile, Sample, Video

if TYPE_CHECKING:
    from videossr.gates.tables import StoredFrames

__all__ = ["Check", "GateFailure", "GateResult", "ValidateParams", "validate", "write_gate"]


def validate(
    manifest: Sequence[Video],
    quarantine: Sequence[RejectedFile],
    store: "StoredFrames",
    train: Sequence[Sample],
    viubench: Sequence[Sample],
    tasks: Mapping[str, PretextTask],
    params: ValidateParams,
    seed: int,
) -> GateResult:
    """Check the data by every rule. `seed` chooses the samples that are rendered.

    `store` is a FrameStore; `tasks` maps task names to tasks with the parameters that generated the samples.
    A failing rule does not raise: the result lists the failures. Call `write_gate` before you raise for them.
    """
    from videossr.gates.run_gate import run_gate

    return run_gate(manifest, quarantine, store, {"train": train, "viubench": viubench}, tasks, params, seed)


def write_gate(result: GateResult, reports_dir: Path) -> None:
    """Write `gate.json` and `gate.html` into `reports_dir`.

    The page takes the place of Great Expectations' Data Docs, which are empty without a network: they load their
    styles and scripts from 16 addresses.
    """
    from videossr.gates import report

    report.write_json(result, reports_dir / "gate.json")
    report.write_html(result, reports_dir / "gate.html")
