"""The gate between the samples and the training (stage `validate`): may this data be trained on?

Rules check everything that the stages before have written: the manifest and the quarantine, the frame store, both sets
of samples, and some rendered samples. A rule that fails stops the graph, and the report names the rows. `suites` lists
the rules of each table, one sentence a rule; the thresholds are `ValidateParams`.

- Every answer is derived again from the edit and the frame times and must equal the one in the sample; the reward of
  the task must give it 1.
- No video, donors of frames included, is used in both training and benchmark.
- Edits stay within the parameters of their task, and no class of answers is right so often that guessing pays.
- Some samples of each task and variant are rendered and compared with the clip before the edit: a mirrored symmetric
  picture or exchanged channels on grey have no visible answer. Single ones are warnings; many fail the gate.

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
    """Check the data by every rule. Which samples are rendered depends on `seed` alone.

    `store` is a FrameStore; `tasks` maps task names to tasks with the parameters the samples were made with. Data
    that fails rules does not raise: the result lists the failures. Write the result before acting on it.
    """
    from videossr.gates.run_gate import run_gate

    return run_gate(manifest, quarantine, store, {"train": train, "viubench": viubench}, tasks, params, seed)


def write_gate(result: GateResult, reports_dir: Path) -> None:
    """Write `gate.json`, `gate.html` and the Data Docs (`data_docs/index.html`) into `reports_dir`."""
    from videossr.gates import engine

    report.write_json(result, reports_dir / "gate.json")
    report.write_html(result, reports_dir / "gate.html")
    engine.write_data_docs(result.documents, reports_dir / "data_docs")
