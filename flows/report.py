"""Stage report: everything the other stages left, on one page."""

from pathlib import Path

from flows.runtime import run_stage, section
from videossr import config
from videossr.dataset.params import PretextParams
from videossr.report import ReportParams, load_inputs, write_report
from videossr.tracking import stage_run
from videossr.workspace import project_root


def main() -> None:
    params = config.build(ReportParams, section("report"), "report")
    tasks = config.build(PretextParams, section("pretext"), "pretext").tasks
    with stage_run(project_root(), "report", {"report": section("report")}) as run:
        page = write_report(load_inputs(Path()), tasks, params, Path("reports"))
        run.artifacts([page, page.parent / "figures"])


if __name__ == "__main__":
    run_stage(main, "report")
