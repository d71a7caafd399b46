"""Commands of the documentation for programs of the host: what can be checked without an engine or a session."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.test_docs import DOCS, commands, exists
from videossr.services.systemd import systemd_unit

OPERATE = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
# Those that the environment of the project has, or every machine that can install it.
OWN = {"make", "git", "dvc", "videossr", "python", "mlflow", "accelerate", "activate", "mkdir", "."}


def command_lines(text: str) -> list[list[str]]:
    """The words of each command in the code blocks of a text, without comments and variables."""
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).splitlines()
    parts = [part for line in lines for part in re.split(r"&&|;|\|", re.sub(r"(^|\s)#.*", "", line)) if part.strip()]
    found = [[word for word in shlex.split(part) if not re.match(r"[A-Z_]+=", word)] for part in parts]
    return [words for words in found if words]


def of_program(name: str) -> list[list[str]]:
    return [words for words in command_lines(OPERATE) if words[0] == name]


def refused_by_docker(arguments: list[str]) -> str:
    """What docker's client says of arguments that it does not know; empty where it goes on to ask its daemon."""
    if shutil.which("docker") is None:
        pytest.skip("needs docker's client")
    nowhere = {**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    done = subprocess.run(["docker", *arguments], cwd=ROOT, env=nowhere, capture_output=True, text=True, check=False)
    return "" if "Cannot connect to the Docker daemon" in done.stderr else done.stderr or "accepted"


def test_every_program_that_was_not_here_is_named_as_such():
    (section,) = re.findall(r"## What needs a program that was not here\n(.*?)\n## ", OPERATE, re.DOTALL)
    named = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    used = {Path(words[0]).name or words[0] for path in DOCS for words in command_lines(path.read_text("utf-8"))}
    assert used - OWN == named


def test_docker_knows_every_option_of_the_documented_lines():
    build, run = of_program("podman")
    # docker does not look for a Containerfile by itself, as the documentation says.
    assert "docker build -f Containerfile -t videossr ." in OPERATE
    assert refused_by_docker(["build", "-f", "Containerfile", *build[2:]]) == ""
    assert refused_by_docker(run[1:]) == ""


@pytest.mark.parametrize("change", [("--rm", "--remove"), ("--volume", "--volumes")])
def test_an_option_that_docker_does_not_know_is_found(change):
    _, run = of_program("podman")
    assert "unknown flag" in refused_by_docker([change[1] if word == change[0] else word for word in run[1:]])


def test_the_container_gets_the_image_that_was_built_folders_of_the_project_and_a_command_of_it():
    build, run = of_program("podman")
    *options, image, command = run
    assert image == build[build.index("-t") + 1] and command in commands()
    instructions = (ROOT / "Containerfile").read_text()
    (workdir,) = re.findall(r"^WORKDIR (\S+)$", instructions, re.MULTILINE)
    volumes = [options[place + 1].split(":") for place, word in enumerate(options) if word == "--volume"]
    assert {here for here, _ in volumes} == {"./data", "./models", "./mlruns", "./reports"}
    for here, there in volumes:
        assert exists(f"{Path(here).name}/") and there == f"{workdir}/{Path(here).name}"


def test_systemd_enables_the_unit_under_the_documented_name(tmp_path):
    if shutil.which("systemctl") is None:
        pytest.skip("needs systemctl")
    (enable,) = of_program("systemctl")
    assert enable[:4] == ["systemctl", "--user", "enable", "--now"]
    name = f"{enable[4]}.service"
    assert f"videossr unit > ~/.config/systemd/user/{name}" in OPERATE
    units = tmp_path / "etc/systemd/user"
    units.mkdir(parents=True)
    (units / name).write_text(systemd_unit(Path("/srv/project"), Path("/srv/project/.venv/bin/videossr")))
    # --root works on files alone: no session is asked.
    command = ["systemctl", f"--root={tmp_path}", "--global", "enable", enable[4]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (units / "default.target.wants" / name).is_symlink()
