"""A module imports its own level or lower, and every heavy dependency has its owners."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = (
    (
        "errors",
        "records",
        "rewards",
        "config",
        "clip",
        "storage",
        "parallel",
        "pages",
        "services",
        "paths",
        "terminal",
        "workspace",
    ),
    ("decode", "frames"),
    ("pretext",),
    ("ingest", "dataset", "gates"),
    ("models", "train"),
    ("evaluation", "report", "audit", "ablation", "plan"),
    ("recipe", "runnable", "tracking", "drift", "cli"),
)
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
OWNERS = {
    "prefect": ("flows",),
    "dvc": ("flows",),
    "mlflow": ("videossr.tracking",),
    "great_expectations": ("videossr.gates",),
    "trl": ("videossr.train",),
    "torch": ("videossr.models", "videossr.train", "videossr.plan"),
    "transformers": ("videossr.models", "videossr.train", "videossr.plan"),
    "decord": ("videossr.decode",),
    "av": ("videossr.decode", "videossr.ingest.synthetic"),  # synthetic writes videos; decode alone reads them
}


def imports(source: str) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it; a relative import starts with a dot."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def faults(module: str, source: str) -> list[str]:
    """What `module`, a dotted name, imports against the rules."""
    return [f"{module} imports {name}: {rule}" for name in imports(source) if (rule := broken_rule(module, name))]


def broken_rule(module: str, name: str) -> str | None:
    package, part = name.split(".")[0], ".".join(module.split(".")[:2])
    owners = OWNERS.get(package)
    if name.startswith("."):
        return "imports are absolute"
    if part == "videossr.rewards" and package not in sys.stdlib_module_names:
        return "rewards imports the standard library alone"
    if owners and not any(module == owner or module.startswith(f"{owner}.") for owner in owners):
        return f"only {', '.join(owners)} may"
    if module.startswith("videossr.") and package == "flows":
        return "the library must not import flows"
    if module.startswith("videossr.") and package == "videossr":
        own, other = module.split(".")[1], f"{name}.".split(".")[1]
        if LEVEL_OF.get(other, 0) > LEVEL_OF[own]:
            return f"{other} is at level {LEVEL_OF[other]}, {own} at {LEVEL_OF[own]}"
    return None


def modules() -> dict[str, Path]:
    files = {path.relative_to(ROOT / "src"): path for path in (ROOT / "src/videossr").rglob("*.py")}
    files |= {path.relative_to(ROOT): path for path in (ROOT / "flows").rglob("*.py")}
    return {".".join(name.with_suffix("").parts).removesuffix(".__init__"): path for name, path in files.items()}


def present() -> set[str]:
    """The modules of the library as a listing shows them: `frames/`, `recipe`."""
    folder = ROOT / "src/videossr"
    packages = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    return packages | {path.stem for path in folder.glob("*.py")} - {"__init__"}


def drawn() -> list[tuple[str, str]]:
    """(names, what they are) of each row of the tree in the README; for modules the latter begins with their level."""
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("## The tree")[1].split("```")[1]
    return re.findall(r"^ *(\S.*?) {3,}(\S.*)$", tree, re.MULTILINE)


def test_every_module_has_a_level() -> None:
    assert {name.rstrip("/") for name in present()} == set(LEVEL_OF), "LEVELS names every module of the library"


def test_the_tree_in_the_readme_shows_every_module_at_its_level() -> None:
    rows = [(name, int(what[1])) for names, what in drawn() for name in names.split() if re.match(r"L\d", what)]
    assert sorted(rows) == sorted((name, LEVEL_OF[name.rstrip("/")]) for name in present())


def test_the_tree_in_the_readme_shows_every_folder_of_the_project() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not listed:
        pytest.skip("not in git: the folders of the project are unknown")
    folders = {f"{path.split('/')[0]}/" for path in listed.splitlines() if "/" in path and not path.startswith(".")}
    names = {name for names, what in drawn() if not re.match(r"L\d", what) for name in names.split()}
    assert {name for name in names if name.endswith("/")} == folders - {"src/"}
    assert all((ROOT / name).is_file() for name in names if not name.endswith("/"))


def test_every_module_imports_its_own_level_or_lower_and_owns_what_it_imports() -> None:
    assert [fault for name, path in modules().items() for fault in faults(name, path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("videossr.frames.store", "from videossr.dataset.build import build_train"),
        ("videossr.pretext.jigsaw", "from videossr import rewards, evaluation"),
        ("videossr.train.grpo", "import videossr.tracking"),
        ("videossr.rewards", "import numpy as np"),
        ("videossr.rewards", "from videossr.errors import VideoSSRError"),
        ("videossr.gates.report", "def draw():\n    from mlflow.entities import Run"),
        ("videossr.evaluation.runner", "import torch.nn"),
        ("videossr.evaluation.runner", "from videossr.train.params import TrainParams\nimport trl"),
        ("videossr.models.qwen", "from trl import GRPOTrainer"),
        ("videossr.ingest.inspect_file", "import av"),
        ("videossr.cli", "from prefect import flow"),
        ("videossr.cli", "from flows.runtime import run_stage"),
        ("videossr.tracking", "import dvc.api"),
        ("flows.validate", "import great_expectations as gx"),
        ("videossr.dataset.build", "from .records import Sample"),
    ],
)
def test_a_planted_import_is_a_fault(module: str, source: str) -> None:
    assert len(faults(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("videossr.ingest.synthetic", "import av"),
        ("videossr.gates.suites", "import great_expectations"),
        ("videossr.rewards", "import re\nfrom dataclasses import dataclass"),
        ("flows.pipeline", "import prefect\nfrom dvc.repo import Repo\nfrom videossr import tracking"),
        ("videossr.train.stage", "import torch, trl\nfrom videossr.dataset.samples import read_samples"),
    ],
)
def test_an_import_within_the_rules_is_not_a_fault(module: str, source: str) -> None:
    assert faults(module, source) == []


# Each worker process that reads videos would need 40 MB and half a second more for them.
TABLES_AND_BARS = ("pyarrow", "pandas", "tqdm", "fsspec", "torch", "decord")


@pytest.mark.parametrize(
    ("module", "late"),
    [
        ("videossr.ingest.inspect_file", TABLES_AND_BARS),
        ("videossr.frames.encoding", TABLES_AND_BARS),
        ("videossr.gates", ("great_expectations",)),  # parameters are read without it
        ("videossr.evaluation.runner", ("torch", "trl", "peft")),
        ("flows.evaluate", ("trl", "peft", "videossr.train")),
        ("flows.list", ("prefect", "mlflow", "pandas", "torch", "great_expectations")),
        ("flows.runtime", ("prefect", "mlflow", "pandas", "torch")),  # every stage imports it
        ("videossr.cli", ("prefect", "mlflow", "pandas", "torch", "transformers", "great_expectations")),
        ("videossr.tracking", ("mlflow",)),  # it reads the telemetry settings when it is imported
    ],
)
def test_a_module_does_not_import_a_heavy_library_before_it_is_used(module: str, late: tuple[str, ...]) -> None:
    program = f"import sys, {module}; sys.exit(' '.join(name for name in {late} if name in sys.modules) or 0)"
    subprocess.run([sys.executable, "-c", program], check=True)
