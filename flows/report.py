"""Stage report: show the outputs of all other stages on one page, and samples in a gallery."""

from pathlib import Path

from flows.recording import record_stage
from flows.runtime import params_of, run_stage
from videossr.dataset.params import PretextParams
from videossr.report.inputs import load_inputs
from videossr.report.params import ReportParams
from videossr.report.sample_gallery import write_run_gallery
from videossr.report.writing import write_report


def main() -> None:
    params = params_of("report", ReportParams)
    tasks = params_of("pretext", PretextParams).tasks
    with record_stage("report") as run:
        page = write_report(load_inputs(Path()), tasks, params, Path("reports"))
        write_run_gallery(Path("reports/gallery"), tasks, count=params.gallery_samples)
        run.log_artifacts([page, page.parent / "figures"])


if __name__ == "__main__":
    run_stage(main, "report")
