"""Every file, module, command, target and parameter that the documentation names exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.main import get_command

from tests.support import ROOT
from videossr.cli import app
from videossr.pretext import Grounding
from videossr.recipe import load_recipe
from videossr.records import VIDEO_MARKER, FrameTimes

DOCS = sorted(
    [
        ROOT / "README.md",
        ROOT / "mlruns/README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs/decisions").glob("*.md"),
    ]
)
SETTINGS = [ROOT / name for name in ("Makefile", "dvc.yaml", "params.yaml", "prefect.yaml", "pyproject.toml")]
SETTINGS += [*(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "sources").rglob("*.yaml")]
CODE = [path for folder in ("src", "flows", "bench") for path in (ROOT / folder).rglob("*.py")]

BASES = (ROOT, ROOT / "docs", ROOT / "src/videossr", ROOT / "src")  # where a path in the documentation may start
FOLDERS = ("src", "flows", "bench", "tests", "docs", "recipes", "sources", "measured", "decisions")
OUTPUT_FOLDERS = ("data", "models", "reports")
# Written by a command or beside the outputs of a stage, so dvc.yaml does not list them.
OTHER_OUTPUTS = ("reports/ablations", "reports/audit.html", "reports/drift.html", "models/policy")


def packages() -> set[str]:
    return {path.parent.name for path in (ROOT / "src/videossr").glob("*/__init__.py")}


def graph_outputs() -> set[str]:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    items = [item for stage in stages for key in ("outs", "metrics") for item in stage.get(key, [])]
    return {item if isinstance(item, str) else next(iter(item)) for item in items}


def named_paths(text: str) -> set[str]:
    """Paths of the project in a text: `train/prefix.py`, `docs/log.md`, `data/frames/`."""
    tokens = re.findall(r"(?<![\w./:<>-])(?:[\w-]+/)+[\w.*-]*", text)
    known = {*FOLDERS, *OUTPUT_FOLDERS, *packages(), "videossr"}
    return {token.rstrip(".") for token in tokens if token.split("/")[0] in known}


def exists(path: str) -> bool:
    """Whether a path is a file or folder of the project, or an output of the graph or below one."""
    outputs = {*graph_outputs(), *OTHER_OUTPUTS}
    name = path.rstrip("/")
    if name.split("/")[0] in OUTPUT_FOLDERS and any(
        name == out or name.startswith(f"{out}/") or out.startswith(f"{name}/") or Path(out).match(name)
        for out in outputs
    ):
        return True
    return any(next(base.glob(name), None) is not None for base in BASES)


def named_modules(text: str) -> set[str]:
    """Dotted names below the project's packages: `videossr.parallel.parallel_map`, `bench.learning`."""
    return set(re.findall(r"(?<![\w./-])(?:videossr|flows|bench)(?:\.[A-Za-z_]\w*)+", text))


def defined_names(path: Path) -> Iterator[str]:
    """Names at the top level of a module, imported ones included."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def is_module_or_name(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name at the top level of a module."""
    *parents, last = dotted.split(".")
    root = ROOT / "src" if parents[0] == "videossr" else ROOT
    folder = root.joinpath(*parents)
    if (folder / f"{last}.py").exists() or (folder / last / "__init__.py").exists():
        return True
    module = folder.with_suffix(".py") if folder.with_suffix(".py").exists() else folder / "__init__.py"
    return module.exists() and last in defined_names(module)


def named_parameters(text: str) -> set[str]:
    """Parameters of a run in a text: `ingest.source`, `train.grpo`, `grpo.refill_rounds`."""
    sections = "ingest|frames|pretext|validate|train|evaluate|downstream|report|grpo"
    return set(re.findall(rf"`((?:{sections})(?:\.[a-z_]+)+)[`:]", text))


def is_parameter(dotted: str) -> bool:
    value: object = load_recipe(ROOT / "params.yaml")
    for name in (f"train.{dotted}" if dotted.startswith("grpo.") else dotted).split("."):
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True


def commands() -> set[str]:
    app = (ROOT / "src/videossr/cli/app.py").read_text(encoding="utf-8")
    return set(re.findall(r'(?:command\(|add_typer\(\w+, name=)"(\w+)"\)', app))


def targets() -> set[str]:
    return set(re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[0].split())


def faults(text: str) -> set[str]:
    """The names in a text that do not exist in the project."""
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
    return {
        *(path for path in named_paths(text) if not exists(path)),
        *(name for name in named_modules(text) if not is_module_or_name(name)),
        *(name for name in named_parameters(text) if not is_parameter(name)),
        *(f"videossr {name}" for name in re.findall(r"(?:^|[`/ ])videossr (\w+)", code) if name not in commands()),
        *(f"make {name}" for name in re.findall(r"(?:^|`)make (\w+)", code, re.M) if name not in targets()),
    }


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_everything_that_a_document_names_exists(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_test_that_a_document_names_exists(path: Path) -> None:
    for file, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", path.read_text(encoding="utf-8")):
        assert name in set(defined_names(ROOT / file)), f"{file}::{name}"


def unknown_options(text: str) -> list[str]:
    """Options of `videossr` in code blocks of a text that its commands do not have."""
    found = []
    for line in "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).splitlines():
        # A line may hold several commands; what follows # is a comment.
        for part in re.split(r"&&|;|\|", re.sub(r"\s#.*", "", line)):
            words = part.split()
            names = [i for i, word in enumerate(words) if word.split("/")[-1] in ("videossr", "videossr.cli")]
            if names:
                found += [f"{part.strip()}: {option}" for option in _unknown(words[names[0] + 1 :])]
    return found


def _unknown(words: list[str]) -> list[str]:
    command: Any = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    return [word for word in words if re.match(r"--\w|-[a-z]$", word) and word.split("=")[0] not in {*known, "--help"}]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_option_that_a_document_shows_exists(path: Path) -> None:
    assert unknown_options(path.read_text(encoding="utf-8")) == []


def test_a_wrong_option_is_found() -> None:
    shown = "```bash\nmake run && .venv/bin/videossr gallery --out g --loud   # --not-this\n```"
    assert unknown_options(shown) == [".venv/bin/videossr gallery --out g --loud: --loud"]


def test_every_module_and_file_that_settings_name_exists() -> None:
    for path in SETTINGS:
        text = path.read_text(encoding="utf-8")
        names = {*named_modules(text)} - {"videossr.cli", "videossr.db"}
        assert {name for name in names if not is_module_or_name(name)} == set(), path


def test_every_test_and_document_that_code_names_exists() -> None:
    for path in CODE:
        named = re.findall(r"\b(?:tests|docs)/[\w/-]+\.(?:py|md|json)", path.read_text(encoding="utf-8"))
        assert {name for name in named if not (ROOT / name).exists()} == set(), path


def test_every_decision_that_a_document_refers_to_exists() -> None:
    numbers = {int(path.name[:4]) for path in (ROOT / "docs/decisions").glob("*.md")}
    assert numbers == set(range(1, len(numbers) + 1))
    for path in DOCS:
        assert {int(n) for n in re.findall(r"[Dd]ecision (\d+)", path.read_text(encoding="utf-8"))} <= numbers, path


@pytest.mark.parametrize(
    "text",
    [
        "`train/assembly.py` makes the trainer",
        "`videossr.qwen`",
        "`videossr.parallel.mapped`",
        "`data/unusable.parquet`",
        "`tests/test_fuzz.py`",
        "`videossr rename`",
        "```bash\nmake coffee\n```",
        "`train.grpo.patience`",
        "`grpo.patience`",
    ],
)
def test_a_wrong_name_is_found(text: str) -> None:
    assert len(faults(text)) == 1


def test_the_example_question_of_the_readme_has_the_wording_that_the_policy_was_trained_on():
    video = FrameTimes("v", tuple(0.5 * i for i in range(48)))
    sample = Grounding().generate(video, "mirror", np.random.default_rng(0))
    (asked,) = re.findall(r"videossr answer clip\.mp4 -q '([^']+)'", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert asked == sample.question.removeprefix(f"{VIDEO_MARKER}\n")
