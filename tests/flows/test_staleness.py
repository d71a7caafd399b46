"""A stage runs again when code that decides its result has changed: its `deps` cover all that it imports of ours."""

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
# Imported by every stage, and no output depends on them: how a mistake is worded, what MLflow records, where the
# project lies, whether Prefect shows the run. `tracking` only writes down what a stage hands to it.
DECIDES_NO_RESULT = (
    "flows/__init__.py",
    "flows/runtime.py",
    "flows/server.py",
    "src/videossr/__init__.py",
    "src/videossr/errors.py",
    "src/videossr/tracking",
    "src/videossr/workspace.py",
)


@cache
def imports(path: Path) -> frozenset[Path]:
    """Files of the project that a module imports, the faces of their packages included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    parts = [name.split(".") for name in names if name.split(".")[0] in ("videossr", "flows")]
    places = {
        (ROOT if module[0] == "flows" else ROOT / "src").joinpath(*module[: depth + 1])
        for module in parts
        for depth in range(len(module))
    }
    return frozenset(
        file for place in places for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()
    )


def closure(path: Path) -> set[str]:
    """Everything that runs when `path` runs, as paths from the project's root; `path` itself left out."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        fresh = imports(waiting.pop()) - seen
        seen |= fresh
        waiting += fresh
    return {file.relative_to(ROOT).as_posix() for file in seen}


def covers(dependency: str, module: str) -> bool:
    return module == dependency or module.startswith(f"{dependency}/")


def decides(module: str) -> bool:
    """Whether a module can change an output: one that only says what its package holds cannot."""
    body = ast.parse((ROOT / module).read_text(encoding="utf-8")).body
    is_docstring_alone = len(body) <= 1 and module.endswith("__init__.py")
    return not is_docstring_alone and not any(covers(item, module) for item in DECIDES_NO_RESULT)


def uncovered(stage: str, dependencies: list[str]) -> set[str]:
    """Modules that `stage` imports and none of its dependencies covers."""
    modules = {f"flows/{stage}.py", *closure(ROOT / "flows" / f"{stage}.py")}
    return {m for m in modules if decides(m) and not any(covers(item, m) for item in dependencies)}


@pytest.mark.parametrize("stage", GRAPH)
def test_a_stage_depends_on_all_that_it_imports_of_ours(stage: str) -> None:
    assert uncovered(stage, GRAPH[stage]["deps"]) == set()


@pytest.mark.parametrize("stage", GRAPH)
def test_a_dependency_that_is_left_out_is_found(stage: str) -> None:
    dependencies = GRAPH[stage]["deps"]
    ours = [item for item in dependencies if item.startswith(("src/", "flows/"))]
    for omitted in ours:
        found = uncovered(stage, [item for item in dependencies if item != omitted])
        assert found and all(covers(omitted, module) for module in found), f"{stage} without {omitted}"


@pytest.mark.parametrize("stage", ["pretext", "validate", "train", "evaluate", "report"])
def test_a_stage_that_reads_the_frame_store_depends_on_the_code_that_reads_it(stage: str) -> None:
    assert "src/videossr/frames" in GRAPH[stage]["deps"]


@pytest.mark.parametrize(
    ("kept", "made_by"), [(inspection_cache, "ingest/inspect_file.py"), (shard_cache, "frames/encoding.py")]
)
def test_what_is_kept_between_runs_has_the_fingerprint_of_all_code_that_decides_it(
    kept: ModuleType, made_by: str
) -> None:
    package = ROOT / "src" / "videossr"
    code = {path.relative_to(ROOT).as_posix() for pattern in kept.CODE for path in package.glob(pattern)}
    # Spreading over processes changes no result (tests/parallel/test_engines.py).
    neutral = ("src/videossr/parallel", "src/videossr/config.py")
    left = {m for m in closure(package / made_by) - code if decides(m) and not any(covers(n, m) for n in neutral)}
    assert left == set()
