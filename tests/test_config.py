"""Parameters are checked when they are read; an unknown key, a wrong type or a missing section is one sentence."""

from dataclasses import dataclass, field
from typing import Literal

import pytest
from dvc.fs import LocalFileSystem
from dvc.utils.serialize import EncodingError, ParseError, load_yaml

from videossr import config
from videossr.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    count: int = 1
    quick: bool = False
    kind: Literal["on", "off"] = "on"
    span: tuple[float, float] = (0.0, 1.0)
    shares: dict[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ConfigError(f"count must not be negative, got {self.count}")


def test_a_section_becomes_its_dataclass_with_nested_ones():
    made = config.build(Outer, {"name": "a", "span": [0, 2], "inner": {"rate": "1e-3"}, "maybe": {}}, "x")
    assert made == Outer("a", span=(0.0, 2.0), inner=Inner(1e-3), maybe=Inner())


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"name": "a", "cuont": 1}, r"x has no parameter 'cuont' \(did you mean 'count'\?\): accepted are name, count"),
        ({}, "x lacks 'name', which has no default"),
        ({"name": 3}, "x.name must be str, got 3"),
        ({"name": "a", "quick": "on"}, "x.quick must be true or false, got 'on'"),
        ({"name": "a", "kind": True}, "x.kind must be one of on, off, got True"),
        ({"name": "a", "count": True}, "x.count must be int, got True"),
        ({"name": "a", "count": 1.5}, "x.count must be int, got 1.5"),
        ({"name": "a", "kind": "perhaps"}, "x.kind must be one of on, off, got 'perhaps'"),
        ({"name": "a", "span": [1]}, "x.span must have 2 values, got 1"),
        ({"name": "a", "shares": {"b": "c"}}, "x.shares.b must be a number, got 'c'"),
        ({"name": "a", "inner": {"rat": 1}}, "x.inner has no parameter 'rat'"),
        ({"name": "a", "inner": 7}, "x.inner must be a mapping, got 7"),
        ({"name": "a", "count": -1}, "x: count must not be negative, got -1"),
    ],
)
def test_the_error_names_the_parameter_and_the_remedy(section, sentence):
    with pytest.raises(ConfigError, match=sentence):
        config.build(Outer, section, "x")


def test_a_params_file_has_exactly_the_seven_sections(tmp_path):
    path = tmp_path / "params.yaml"
    for text, sentence in (
        ("ingest: {}", "lacks the section 'frames'"),
        ("ingets: {}", "did you mean 'ingest'"),
        ("[1, 2]", "must be a mapping of the sections"),
        ("a: [", "is not valid YAML"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=sentence):
            config.load(path)
    with pytest.raises(ConfigError, match="no parameters at"):
        config.load(tmp_path / "nowhere.yaml")
    path.write_text("\n".join(f"{name}: {{}}" for name in config.SECTIONS))
    assert tuple(config.load(path)) == config.SECTIONS


BROKEN = {
    "duplicate key": (b"seed: 0\nseed: 1\n", "in line 2: found duplicate key"),
    "tab": (b"ingest:\n\tseed: 0\n", "in line 2: found character that cannot start any token"),
    "two documents": (b"---\na: 1\n---\nb: 1\n", "in line 3: but found another document"),
    "UTF-16": ("a: 1".encode("utf-16"), "is not valid YAML in UTF-8"),
    "Latin-1": ("# L\xe4uf\na: 1".encode("latin-1"), "is not valid YAML in UTF-8"),
    "object": (b"a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_dvc_refuses_is_refused_with_its_line(tmp_path, name):
    content, sentence = BROKEN[name]
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        config.read_yaml(path)
    with pytest.raises((ParseError, EncodingError)):
        load_yaml(str(path), fs=LocalFileSystem())


def test_yaml_is_read_as_dvc_reads_it(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: on\r\nb: no\r\nc: 010\r\nd: 1e-6\r\ne: 1:30\r\nf: 0o10\r\ng: &x [1]\r\nh: *x\r\n")
    read = config.read_yaml(path)
    assert read == {"a": "on", "b": "no", "c": 10, "d": 1e-6, "e": "1:30", "f": 8, "g": [1], "h": [1]}
    assert load_yaml(str(path), fs=LocalFileSystem()) == read
