"""Commands about the run's parameters: choose the source or a recipe, check parameters, estimate the cost."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from videossr import config
from videossr.errors import ConfigError, SourceError
from videossr.paths import MADE_VIDEOS, PARAMS, require_file
from videossr.storage.atomic import write_bytes
from videossr.terminal import printable
from videossr.workspace import project_root


def set_source(
    source: Annotated[
        str, typer.Argument(help="a folder of videos, its URL, a list, or a YAML that describes videos to make")
    ],
) -> None:
    """Set the videos of the run: writes `ingest.source` in params.yaml, and nothing else there."""
    source_value = _source_value(source)
    config.load(require_file(PARAMS))  # one sentence where the file is not valid
    text = PARAMS.read_bytes().decode("utf-8")
    start, end = _place_of_source(text)
    write_bytes(PARAMS, (text[:start] + _as_scalar(source_value) + text[end:]).encode("utf-8"))
    print(f"ingest.source is now {printable(source_value)}: `make run` uses it")


def _place_of_source(text: str) -> tuple[int, int]:
    """Where the value of `ingest.source` starts and ends, so that no other character of the file changes."""
    from ruamel.yaml import YAML

    node = YAML(typ="rt").compose(text)
    for key in ("ingest", "source"):
        values = {name.value: value for name, value in node.value}
        if key not in values:
            raise ConfigError(f"{PARAMS.name} must have the key ingest.source: copy it from a file in recipes/")
        node = values[key]
    return node.start_mark.index, node.end_mark.index


def _as_scalar(value: str) -> str:
    """A text as a YAML value: plain where it reads back as itself, else in quotes."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        is_plain = YAML(typ="safe").load(f"key: {value}") == {"key": value}
    except YAMLError:
        is_plain = False
    return value if is_plain else json.dumps(value, ensure_ascii=False)


def _source_value(source: str) -> str:
    """The value of `ingest.source`: a URL unchanged, a path relative to the project, or an absolute path outside it.

    Raises SourceError when the source does not exist.
    """
    from videossr.ingest.remote import is_url, require_reachable

    if is_url(source):
        require_reachable(source)
        return source
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # `~name`, and this machine has no user of that name
        path = Path(source)
    if not source or not path.exists():
        raise SourceError(f"the source must exist, '{source}' does not: name a folder of videos")
    absolute = path.resolve()
    return str(absolute.relative_to(project_root()) if absolute.is_relative_to(project_root()) else absolute)


def apply_recipe(
    path: Annotated[Path, typer.Argument(help="the parameters of a whole run, for example recipes/videossr-8b.yaml")],
) -> None:
    """Use a recipe as the run: check it, then copy it over params.yaml."""
    from videossr.recipe import load_recipe

    load_recipe(path)
    if path.resolve() == PARAMS.resolve():
        raise ConfigError(f"{path} already is the run: name another recipe")
    write_bytes(PARAMS, path.read_bytes())
    print(f"params.yaml is now {path}: `make run` runs it, `git diff params.yaml` shows what changed")


def check_params(path: Annotated[Path, typer.Argument(help="the params file")] = PARAMS) -> None:
    """Check a params file: every section, key and range, and whether this machine has the files and libraries it names.

    Of params.yaml, the run itself, the source is checked as well.
    """
    from videossr.recipe import load_recipe
    from videossr.runnable import require_files_and_libraries, require_source

    recipe = load_recipe(path)
    if path.resolve() == PARAMS.resolve():
        require_source(recipe, project_root(), project_root() / MADE_VIDEOS)
    require_files_and_libraries(recipe, project_root())
    print(f"{path} is valid: all parameters are known and within their ranges")


def show_plan(
    path: Annotated[Path, typer.Argument(help="the params file, for example recipes/videossr-8b.yaml")] = PARAMS,
    completion_tokens: Annotated[int, typer.Option(min=1, help="expected tokens of a completion")] = 12,
    tflops: Annotated[
        list[float] | None, typer.Option(min=0.01, help="effective TFLOP/s per GPU; 100, 200 and 400 if absent")
    ] = None,
    measured: Annotated[Path | None, typer.Option(help="reports/bench/grpo_step.json, written on a GPU")] = None,
) -> None:
    """Estimate what a run costs: parameters, memory per GPU, tokens, operations, hours. Needs no GPU and no weights."""
    from videossr.plan import plan_run
    from videossr.plan.tables import hours_table, plan_tables, read_groups_per_second
    from videossr.recipe import load_recipe

    groups_per_second = read_groups_per_second(measured) if measured else {}
    recipe = load_recipe(path)
    plan = plan_run(recipe.frames, recipe.pretext, recipe.train, completion_tokens)
    console = Console()
    for table in [*plan_tables(plan), hours_table(plan, tflops or (100.0, 200.0, 400.0), groups_per_second)]:
        console.print(table)
