"""Stage validate: check the data by the rules of the gate, write its report, and fail if a rule fails."""

from pathlib import Path

from flows.recording import record_stage
from flows.runtime import params_of, run_stage
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import read_samples
from videossr.errors import GateError
from videossr.frames.store import FrameStore
from videossr.gates import ValidateParams, validate, write_gate
from videossr.ingest.manifest import read_manifest
from videossr.storage.atomic import write_text
from videossr.storage.quarantine import read_quarantine

REPORTS = Path("reports")
# The dependency of the stage train. Its content is constant: a new threshold alone does not repeat the training.
PASSED = Path("data/gate.passed")


def main() -> None:
    # The file may come from earlier data. Delete it instead of overwriting it: it may be a link into DVC's cache.
    PASSED.unlink(missing_ok=True)
    params = params_of("validate", ValidateParams)
    pretext = params_of("pretext", PretextParams)
    with record_stage("validate") as run:
        result = validate(
            read_manifest(Path("data/manifest.parquet")),
            read_quarantine(Path("data/quarantine.parquet")),
            FrameStore(Path("data/frames")),
            read_samples(Path("data/samples/train.parquet")),
            read_samples(Path("data/samples/viubench.parquet")),
            pretext.tasks,
            params,
            pretext.seed,
        )
        write_gate(result, REPORTS)
        run.log_metrics(
            {"failures": len(result.failures), "warnings": len(result.warnings), "rules": len(result.checks)}
        )
        run.log_artifacts([REPORTS / "gate.html", REPORTS / "gate.json"])
        if not result.success:
            raise GateError(f"{result.summary()}; all failing rows are in {REPORTS / 'gate.html'}")
        write_text(PASSED, "passed\n")


if __name__ == "__main__":
    run_stage(main, "validate")
