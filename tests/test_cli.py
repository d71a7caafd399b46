"""The `videossr` command: commands have help, change one line of params.yaml, and report an error in one sentence."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from videossr import config
from videossr.cli import app
from videossr.cli.results_table import gain_sentence
from videossr.errors import ConfigError, PolicyError, SourceError
from videossr.evaluation.viubench import COLUMNS
from videossr.records import RejectedFile
from videossr.storage.atomic import write_json
from videossr.storage.quarantine import write_quarantine

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project with the repository's params.yaml, as the working directory."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.mark.parametrize(
    "command",
    [
        "use",
        "recipe",
        "check",
        "plan",
        "quarantine",
        "samples",
        "audit",
        "export",
        "import",
        "benchmarks",
        "rescore",
        "compare",
        "browse",
        "evaluate",
        "answer",
        "serve",
        "results",
        "ui",
    ],
)
def test_every_command_has_help(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0 and "Usage" in result.output and len(result.output) > 200


@pytest.mark.parametrize("name", ["my 'own \"videos", "ünï #1: yes", "-dash", "$HOME ${x}", "line\nbreak"])
def test_a_folder_of_any_name_becomes_the_source(project, name):
    (project / name).mkdir()
    invoke("use", "--", name)
    assert config.load(project / "params.yaml")["ingest"]["source"] == name


def test_setting_a_source_changes_that_line_alone(project):
    (project / "clips").mkdir()
    before = (project / "params.yaml").read_text().splitlines()
    invoke("use", "clips")
    after = (project / "params.yaml").read_text().splitlines()
    changed = [line for line in after if line not in before]
    assert [line.split("#")[0].strip() for line in changed] == ["source: clips"]
    assert len(after) == len(before)


def test_a_folder_outside_the_project_becomes_an_absolute_path(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    invoke("use", str(outside))
    assert yaml.safe_load((project / "params.yaml").read_text())["ingest"]["source"] == str(outside)


@pytest.mark.parametrize("name", ["my clips #1", "a: b", "12", "yes", "'quoted'", "- item"])
def test_a_folder_whose_name_means_something_in_yaml_is_written_in_quotes(project, name):
    (project / name).mkdir()
    invoke("use", "--", name)
    assert config.load(project / "params.yaml")["ingest"]["source"] == name


def test_setting_a_source_keeps_windows_line_ends(project):
    params = project / "params.yaml"
    params.write_bytes(params.read_bytes().replace(b"\n", b"\r\n"))
    (project / "clips").mkdir()
    lines = params.read_bytes().count(b"\r\n")
    invoke("use", "clips")
    assert params.read_bytes().count(b"\r\n") == params.read_bytes().count(b"\n") == lines


def test_the_run_is_checked_with_its_source_and_a_recipe_without(project):
    (project / "sources").mkdir()
    (project / "sources" / "made.yaml").write_text((ROOT / "sources" / "made.yaml").read_text())
    assert "is valid" in invoke("check").output
    (project / "sources" / "made.yaml").unlink()
    with pytest.raises(SourceError, match="does not exist"):
        invoke("check")
    (project / "recipe.yaml").write_text((project / "params.yaml").read_text())
    assert "is valid" in invoke("check", "recipe.yaml").output


def test_a_missing_policy_is_found_by_check(project):
    (project / "recipe.yaml").write_text((project / "params.yaml").read_text().replace("tiny-random ", "/no/policy "))
    with pytest.raises(PolicyError, match="there is no folder /no/policy"):
        invoke("check", "recipe.yaml")


def test_a_missing_source_leaves_the_parameters_unchanged(project):
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(SourceError, match="'nowhere' does not"):
        invoke("use", "nowhere")
    assert (project / "params.yaml").read_bytes() == before


def test_an_invalid_recipe_leaves_the_parameters_unchanged(project):
    faulty = project / "faulty.yaml"
    faulty.write_text((project / "params.yaml").read_text() + "\nextra: 1\n")
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(ConfigError, match="no parameter 'extra'"):
        invoke("recipe", str(faulty))
    assert (project / "params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    "mistake",
    [
        ["use", "nowhere"],
        ["use", "~nobody-of-that-name/videos"],
        ["use", ""],
        ["use", "x" * 5000],
        ["check", ""],
        ["check", "params.yaml/x"],
        ["check", "bytes.yaml"],
        ["check", "twice.yaml"],
        ["recipe", "twice.yaml"],
        ["recipe", "params.yaml"],
    ],
)
def test_a_mistake_prints_one_sentence_and_no_traceback(project, mistake):
    (project / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (project / "twice.yaml").write_text((project / "params.yaml").read_text() + "report: {}\n")
    command = [sys.executable, "-c", "from videossr.cli import main; main()", *mistake]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("videossr: ") and "Traceback" not in result.stderr


HEAVY = ("torch", "transformers", "trl", "mlflow", "pandas", "matplotlib", "great_expectations", "prefect")


@pytest.mark.parametrize("arguments", [["check"], ["plan", "--help"], ["results"], ["use", "params.yaml"], ["--help"]])
def test_a_command_that_only_reads_files_answers_without_importing_heavy_libraries(project, arguments):
    """torch and transformers take ten seconds, MLflow and pandas two more; these commands need none of them."""
    write_results(project)
    program = (
        "import sys\nfrom videossr.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('imported:', *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1] == "imported:"


@pytest.mark.parametrize("content", [b"report: {}\nreport: {}\n", b"ingest:\n\tseed: 0\n", b"\xff\xfe\x00"])
def test_a_source_is_not_written_to_an_invalid_file(project, content):
    (project / "params.yaml").write_bytes(content)
    (project / "clips").mkdir()
    with pytest.raises(ConfigError, match="is not valid YAML"):
        invoke("use", "clips")
    assert (project / "params.yaml").read_bytes() == content


def test_a_port_in_use_raises_before_a_server_starts(project):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(ConfigError, match="choose another"):
            invoke("ui", "mlflow", "--port", str(listener.getsockname()[1]))


def test_the_address_of_a_server_is_shown_without_its_password(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hidden@runs.example")
    with pytest.raises(ConfigError, match=r"open https://\[removed\]@runs.example in a browser"):
        invoke("ui", "mlflow")


def test_rejected_files_are_counted_by_reason_and_named(project):
    by_ingest = [
        RejectedFile("clips/[bold].mp4", "not_a_video", "text"),
        RejectedFile("clips/new\nline.mp4", "bad_name"),
    ]
    write_quarantine(project / "data" / "rejected.parquet", by_ingest)
    before_frames = invoke("quarantine").output
    assert "files that are not used: 2 (data/rejected.parquet)" in before_frames
    assert "clips/[bold].mp4" in before_frames and "clips/new\\nline.mp4" in before_frames
    by_frames = RejectedFile("clips/torn.mp4", "corrupt", "frame 7")
    write_quarantine(project / "data" / "quarantine.parquet", [*by_ingest, by_frames])
    corrupt = invoke("quarantine", "--reason", "corrupt").output
    assert "files that are not used: 3" in corrupt and "clips/torn.mp4" in corrupt and "[bold]" not in corrupt
    assert "torn" not in invoke("quarantine", "--rows", "0").output


def test_a_quarantine_of_an_earlier_source_is_not_shown(project):
    write_quarantine(project / "data" / "quarantine.parquet", [RejectedFile("old.mp4", "corrupt")])
    write_quarantine(project / "data" / "rejected.parquet", [RejectedFile("new.mp4", "not_a_video")])
    output = invoke("quarantine").output
    assert "new.mp4" in output and "old.mp4" not in output


def test_a_missing_quarantine_raises_one_sentence(project):
    with pytest.raises(ConfigError, match="run the pipeline first"):
        invoke("quarantine")


def row(score, videos=20):
    interval = [score - 1, score + 1]
    scores = dict.fromkeys([*COLUMNS, "overall"], score)
    return {**scores, "n": 9, "videos": videos, "ci95": {name: interval for name in scores}}


def write_results(project, videos=20):
    scores = zip(("random", "constant", "blind", "before", "after"), (16, 19, 21, 30, 42), strict=True)
    gain = {"overall": 12.0, "ci95": [8.0, 16.0], "significant": True}
    results = {"columns": list(COLUMNS), "rows": {name: row(score, videos) for name, score in scores}, "gain": gain}
    write_json(project / "reports" / "viubench.json", results)


def test_the_table_shows_all_five_rows_with_their_intervals(project):
    write_results(project)
    output = invoke("results").output
    for expected in ("16.0 [15.0, 17.0]", "19.0", "21.0", "30.0", "42.0 [41.0, 43.0]", "+12.0 points", "significant"):
        assert expected in output
    assert "reports/index.html" in output


def test_one_or_two_benchmark_videos_show_no_interval(project):
    write_results(project, videos=2)
    output = invoke("results").output
    assert "42.0" in output and "[" not in output and "interval" in output
    assert "2 benchmark videos give no 95 % interval, which needs 6" in " ".join(output.split())


def results_with(gain):
    return {"rows": {"after": {"videos": 20}}, "gain": gain}


def test_a_gain_whose_interval_includes_zero_is_not_significant():
    sentence = gain_sentence(results_with({"overall": 1.5, "ci95": [-0.5, 3.5], "significant": False}))
    assert "NOT significant" in sentence


def test_a_significant_loss_is_called_worse():
    loss = {"overall": -4.0, "ci95": [-6.0, -2.0], "significant": True}
    assert "WORSE" in gain_sentence(results_with(loss))
