"""The hooks, the CI workflow, the image and the description of a machine do what they say, without their services."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT
from tests.test_docs import targets

HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())
MACHINE = yaml.safe_load((ROOT / "deploy/cloud-init.yaml").read_text())
FILES = {file["path"]: file["content"] for file in MACHINE["write_files"]}


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def clone(folder: Path) -> Path:
    """The project with the files that git has or would add, in a repository of its own."""
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard")
    if listed.returncode != 0:
        pytest.skip("not in git: the files of the project are unknown")
    for name in filter(lambda name: (ROOT / name).is_file(), listed.stdout.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (("init", "-q", "-b", "main"), ("add", "-A"), (*identity, "commit", "-qm", "all")):
        assert run(folder, "git", *command).returncode == 0
    return folder


def packages(folder: Path) -> dict[str, str]:
    """Variables with which pip finds the packages of this environment installed, but not the project itself."""
    folder.mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not path.name.startswith(("videossr", "__editable__")):
            (folder / path.name).symlink_to(path)
    # PIP_NO_BUILD_ISOLATION=0 is how pip spells --no-build-isolation as a variable.
    return {
        "PYTHONPATH": str(folder),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }


def test_every_hook_is_local_and_runs_a_tool_of_the_environment():
    (repository,) = HOOKS["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        program = hook["entry"].split()[0]
        assert hook["language"] == "system" and program.startswith(".venv/bin/")
        assert shutil.which(Path(program).name, path=str(Path(sys.executable).parent))


def test_the_hooks_refuse_a_commit_with_a_fault_and_accept_it_without(tmp_path: Path):
    project = clone(tmp_path / "project")
    (project / ".venv").symlink_to(Path(sys.prefix))
    variables = {"PRE_COMMIT_HOME": str(tmp_path / "cache"), "SKIP": "mypy,layers"}
    program = str(Path(sys.executable).parent / "pre-commit")
    checks = (program, "run", "--all-files")
    accepted = run(project, *checks, **variables)
    assert accepted.returncode == 0, accepted.stdout
    (project / "src/videossr/fault.py").write_text("import os\nx =  1\n")
    assert run(project, "git", "add", "-A").returncode == 0
    refused = run(project, *checks, **variables)
    assert refused.returncode == 1 and "F401" in refused.stdout and "1 file would be reformatted" in refused.stdout


@pytest.mark.slow
def test_the_hook_of_the_layers_finds_a_planted_import(tmp_path: Path):
    project = clone(tmp_path / "project")
    (project / ".venv").symlink_to(Path(sys.prefix))
    with (project / "src/videossr/pretext/jigsaw.py").open("a") as file:
        file.write("\n\ndef late():\n    from videossr import evaluation\n\n    return evaluation\n")
    assert run(project, "git", "add", "-A").returncode == 0
    variables = {"PRE_COMMIT_HOME": str(tmp_path / "cache"), "PYTHONPATH": f"{project / 'src'}:{project}"}
    program = str(Path(sys.executable).parent / "pre-commit")
    refused = run(project, program, "run", "layers", "--all-files", **variables)
    assert refused.returncode == 1 and "evaluation is at level" in refused.stdout


def test_the_workflow_calls_the_targets_of_the_makefile():
    commands = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == ["make lint", "make test"]
    assert {command.split()[1] for command in commands} <= targets()


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of each line of the Containerfile."""
    lines = (ROOT / "Containerfile").read_text().splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]  # type: ignore[misc]


def test_the_image_holds_files_of_the_project_alone():
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    tracked = run(ROOT, "git", "ls-files").stdout.splitlines()
    assert {".venv", ".git", "data", "models", "reports", "work"} <= set(ignored)
    for name, arguments in instructions():
        for source in arguments.split()[:-1] if name == "COPY" else ():
            assert source == "." or any(path == source or path.startswith(f"{source}/") for path in tracked), source


@pytest.mark.slow
def test_the_steps_of_the_image_work_in_a_bare_folder(tmp_path: Path):
    """All but the system packages: what COPY copies and RUN runs, then the command that the image starts."""
    project, image = clone(tmp_path / "project"), tmp_path / "image"
    image.mkdir()
    variables = packages(tmp_path / "packages")
    for name, arguments in instructions():
        if name == "COPY":
            *sources, target = arguments.split()
            for source in sources:
                copy_into(project / source, image / target)
        elif name == "RUN" and not arguments.startswith("apt-get"):
            done = run(image, "bash", "-c", arguments, **variables)
            assert done.returncode == 0, done.stdout + done.stderr
    program, *options = (word for name in ("ENTRYPOINT", "CMD") for word in yaml.safe_load(dict(instructions())[name]))
    shown = run(image, str(image / ".venv/bin" / program), *options, **variables)
    assert shown.returncode == 0 and "gallery" in shown.stdout, shown.stderr


def copy_into(source: Path, target: Path) -> None:
    if source.is_file():
        shutil.copy2(source, target)
    else:
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))


def test_the_machine_is_described_with_files_that_its_commands_name():
    assert "/usr/local/bin/install-videossr" in FILES and "/etc/videossr.env" in FILES
    commands = [shlex.join(command) for command in MACHINE["runcmd"]]
    assert any("install-videossr" in command for command in commands)
    checked = run(ROOT, "bash", "-n", "-c", FILES["/usr/local/bin/install-videossr"])
    assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
def test_the_script_of_the_machine_installs_the_project_and_enables_its_services(tmp_path: Path):
    """Run twice, as on a new machine and at an update; a recording program stands for systemd."""
    repository, home = clone(tmp_path / "repository"), tmp_path / "home"
    for folder in ("home", "videos", "bin"):
        (tmp_path / folder).mkdir()
    (tmp_path / "videossr.env").write_text(f"REPOSITORY={repository}\nVIDEOS={tmp_path / 'videos'}\n")
    (tmp_path / "install").write_text(FILES["/usr/local/bin/install-videossr"])
    (tmp_path / "bin/systemctl").write_text(f'#!/bin/bash\necho "$@" >> {tmp_path / "systemctl.log"}\n')
    (tmp_path / "bin/systemctl").chmod(0o755)
    variables = {
        **packages(tmp_path / "packages"),
        "HOME": str(home),
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    for _ in range(2):
        done = run(tmp_path, "bash", "install", str(tmp_path / "videossr.env"), **variables)
        assert done.returncode == 0, done.stdout + done.stderr
    params = yaml.safe_load((home / "project/params.yaml").read_text())
    assert Path(params["ingest"]["source"]) == tmp_path / "videos"
    assert (
        f"ExecStart={home}/project/.venv/bin/videossr up"
        in (home / ".config/systemd/user/videossr.service").read_text()
    )
    assert (tmp_path / "systemctl.log").read_text() == 2 * "--user enable --now videossr\n"
