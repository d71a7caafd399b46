"""From a YAML section to a checked, frozen dataclass. An unknown key or a wrong type is one sentence."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from videossr.errors import ConfigError

SECTIONS = ("ingest", "frames", "pretext", "validate", "train", "evaluate", "downstream", "report")

T = TypeVar("T")


def load(path: Path) -> dict[str, Any]:
    """Read a params file whose top-level keys are exactly `SECTIONS`.

    Raises ConfigError when the file is missing, is not YAML, or has other sections.
    """
    if not path.exists():
        raise ConfigError(f"no parameters at {path}: run from the project root, or name a recipe that exists")
    params = read_yaml(path)
    if not isinstance(params, dict):
        got = type(params).__name__
        raise ConfigError(f"{path} must be a mapping of the sections {', '.join(SECTIONS)}, got {got}")
    _check_keys(params, SECTIONS, str(path))
    for name in SECTIONS:
        if name not in params:
            raise ConfigError(f"{path} lacks the section '{name}': it needs all of {', '.join(SECTIONS)}")
    return params


def read_yaml(path: Path) -> Any:
    """Read a YAML file as DVC reads it (YAML 1.2: `on` and `no` are words, `010` is ten, a key occurs once).

    Raises ConfigError, with the line, where it is not valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not valid YAML in UTF-8: {error}") from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> Any:
    """The content of a YAML file that was read from `path`, as `read_yaml` reads it."""
    try:
        return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path} is not valid YAML{line}: {' '.join(str(error.problem).split())}") from None
    except YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML in UTF-8: {' '.join(str(error).split())}") from None


def build(cls: type[T], section: Mapping[str, Any], where: str) -> T:
    """Make the dataclass `cls` from a mapping; absent keys take the field's default.

    Nested dataclasses are built from nested mappings. `where` is the dotted path shown in errors.
    Raises ConfigError on an unknown key, a missing required key, a wrong type, or a failed `__post_init__` check.
    """
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where} must be a mapping, got {section!r}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    _check_keys(section, tuple(fields), where)
    missing = [name for name, field in fields.items() if name not in section and _required(field)]
    if missing:
        raise ConfigError(f"{where} lacks '{missing[0]}', which has no default")
    values = {name: _convert(hints[name], value, f"{where}.{name}") for name, value in section.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _check_keys(section: Mapping[str, Any], accepted: tuple[str, ...], where: str) -> None:
    for key in section:
        if key not in accepted:
            close = difflib.get_close_matches(str(key), accepted, n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise ConfigError(f"{where} has no parameter '{key}'{hint}: accepted are {', '.join(accepted)}")


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        kinds = [arg for arg in args if arg is not type(None)]
        return _convert(next((kind for kind in kinds if type(value) is kind), kinds[0]), value, where)
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(f"{where} must be one of {', '.join(map(str, args))}, got {value!r}")
        return value
    if origin is tuple:
        return _convert_tuple(args, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a mapping, got {value!r}")
        return {str(key): _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where} must be a list, got {value!r}")
    if args[-1] is Ellipsis:
        return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(args):
        raise ConfigError(f"{where} must have {len(args)} values, got {len(value)}")
    return tuple(_convert(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True)))


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    # YAML reads 1 as an int, which is a good float; so is a number in quotes. A bool is never a number.
    if hint is float and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{where} must be a number, got {value!r}") from None
        if not math.isfinite(number):
            raise ConfigError(f"{where} must be a finite number, got {value!r}")
        return number
    if hint is bool and not isinstance(value, bool):
        raise ConfigError(f"{where} must be true or false, got {value!r}")
    if hint is int and isinstance(value, bool) or not isinstance(value, hint):
        raise ConfigError(f"{where} must be {hint.__name__}, got {value!r}")
    return value
