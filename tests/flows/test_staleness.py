"""A stage runs again when code that decides its result changes: `deps` cover every project module that it imports."""

import ast
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.support import ROOT
from videossr.frames import shard_cache
from videossr.ingest import cache as inspection_cache

GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Stages import these modules, but no output depends on them: the wording of errors, what is printed, what MLflow
# records, the project's folder, the services, whether Prefect shows the run. `tracking` only records what a stage
# passes to it.
EXEMPT = (
    "flows/__init__.py",
    "flows/recording.py",
    "flows/runtime.py",
    "flows/server.py",
    "src/videossr/__init__.py",
    "src/videossr/errors.py",
    "src/videossr/services",
    "src/videossr/terminal.py",
    "src/videossr/tracking",
    "src/videossr/workspace.py",
)


@cache
def imports(path: Path) -> frozenset[Path]:
    """Files of the project that a module imports, and the `__init__.py` of each package on the way."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    modules = [name.split(".") for name in names if name.split(".")[0] in ("videossr", "flows")]
    paths = {
        (ROOT if parts[0] == "flows" else ROOT / "src").joinpath(*parts[: depth + 1])
        for parts in modules
        for depth in range(len(parts))
    }
    return frozenset(
        file for item in paths for file in (item.with_suffix(".py"), item / "__init__.py") if file.exists()
    )


def all_imports(path: Path) -> set[str]:
    """Modules of the project that `path` imports, directly or not, as paths from the project's root."""
    found: set[Path] = set()
    pending = [path]
    while pending:
        new = imports(pending.pop()) - found
        found |= new
        pending += new
    return {file.relative_to(ROOT).as_posix() for file in found}


def covers(dependency: str, module: str) -> bool:
    """Whether a file or folder in `deps` contains the module."""
    return module == dependency or module.startswith(f"{dependency}/")


def decides_outputs(module: str) -> bool:
    """Whether a module can change an output. An `__init__.py` that is a docstring alone cannot."""
    body = ast.parse((ROOT / module).read_text(encoding="utf-8")).body
    is_docstring_alone = len(body) <= 1 and module.endswith("__init__.py")
    return not is_docstring_alone and not any(covers(item, module) for item in EXEMPT)


def uncovered(stage: str, dependencies: list[str]) -> set[str]:
    """Modules that `stage` imports and that no item of `dependencies` contains."""
    modules = {f"flows/{stage}.py", *all_imports(ROOT / "flows" / f"{stage}.py")}
    return {m for m in modules if decides_outputs(m) and not any(covers(item, m) for item in dependencies)}


@pytest.mark.parametrize("stage", GRAPH)
def test_a_stage_depends_on_every_project_module_that_it_imports(stage: str) -> None:
    assert uncovered(stage, GRAPH[stage]["deps"]) == set()


@pytest.mark.parametrize("stage", GRAPH)
def test_a_missing_dependency_is_found(stage: str) -> None:
    dependencies = GRAPH[stage]["deps"]
    code = [item for item in dependencies if item.startswith(("src/", "flows/"))]
    for omitted in code:
        found = uncovered(stage, [item for item in dependencies if item != omitted])
        assert found and all(covers(omitted, module) for module in found), f"{stage} without {omitted}"


@pytest.mark.parametrize("stage", ["pretext", "validate", "train", "evaluate", "report"])
def test_a_stage_that_reads_the_frame_store_depends_on_the_code_that_reads_it(stage: str) -> None:
    assert "src/videossr/frames" in GRAPH[stage]["deps"]


@pytest.mark.parametrize(
    ("cache_module", "producer"), [(inspection_cache, "ingest/inspect_file.py"), (shard_cache, "frames/encoding.py")]
)
def test_the_key_of_a_cache_covers_all_code_that_decides_its_entries(cache_module: ModuleType, producer: str) -> None:
    package = ROOT / "src" / "videossr"
    code = {path.relative_to(ROOT).as_posix() for pattern in cache_module.CODE for path in package.glob(pattern)}
    # The number of processes changes no result (tests/parallel/test_engines.py).
    neutral = ("src/videossr/parallel", "src/videossr/config.py")
    missing = {m for m in all_imports(package / producer) - code if decides_outputs(m)}
    assert {m for m in missing if not any(covers(item, m) for item in neutral)} == set()
