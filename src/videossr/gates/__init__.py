"""Is this data fit to train on? The gate between the puzzles and the training (stage `validate`).

Everything that comes before is held against rules: the manifest and the quarantine, the frame store, both sets of
samples, and a number of rendered puzzles. A rule that fails stops the graph, and the report names the rows. What is
asked of each table is listed in `suites`, in one sentence a rule; the thresholds are `ValidateParams`.

- Every answer is derived again from the edit and the stored times and must equal the one in the sample; the task's own
  reward must give it full marks.
- No video, donors of frames included, serves both training and benchmark.
- Edits stay within the parameters of their task; no class of answers is right so often that guessing pays.
- Of each task and variant some samples are rendered and compared with the clean clip: a mirrored symmetric picture
  or exchanged channels on grey are puzzles without an answer. Single ones are warnings; many fail the gate.

Only this package imports great_expectations, and only when `validate` or `write_gate` is called: it takes seconds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from videossr.gates import report
from videossr.gates.results import Check, GateFailure, GateResult, ValidateParams
from videossr.gates.tables import StoredFrames
from videossr.pretext import PretextTask
from videossr.records import RejectedFile, Sample, Video

__all__ = ["Check", "GateFailure", "GateResult", "StoredFrames", "ValidateParams", "validate", "write_gate"]


def validate(
    manifest: Sequence[Video],
    quarantine: Sequence[RejectedFile],
    store: StoredFrames,
    train: Sequence[Sample],
    viubench: Sequence[Sample],
    tasks: Mapping[str, PretextTask],
    params: ValidateParams,
    seed: int,
) -> GateResult:
    """Hold the data against every rule; which samples are rendered depends on `seed` alone.

    `store` is a FrameStore; `tasks` maps task names to tasks with the parameters the samples were made with. Data
    that breaks rules never raises: it comes back as failures. Write the result before acting on it.
    """
    from videossr.gates import inspection

    return inspection.inspect(manifest, quarantine, store, {"train": train, "viubench": viubench}, tasks, params, seed)


def write_gate(result: GateResult, reports_dir: Path) -> None:
    """Write `gate.json`, `gate.html` and the Data Docs (`data_docs/index.html`) into `reports_dir`."""
    from videossr.gates import engine

    report.write_json(result, reports_dir / "gate.json")
    report.write_html(result, reports_dir / "gate.html")
    engine.write_data_docs(result.documents, reports_dir / "data_docs")
