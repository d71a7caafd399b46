"""HTML pages from Jinja templates. Every value is escaped; a page loads nothing from a network."""

import base64
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

_MARKDOWN = frozenset("<>&*_`[]!#|\\\"'")


def render_template(name: str, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """Fill in the template `templates/<name>` with `values`; `filters` are added to those of Jinja.

    A name that the template uses and `values` lacks raises jinja2.UndefinedError.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"markdown": markdown_text, **(filters or {})}
    text = resources.files("videossr.pages").joinpath(f"templates/{name}").read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)


def markdown_text(text: object) -> Markup:
    """A text in which neither Markdown nor HTML has a meaning: it may hold the name of a file."""
    return Markup(
        "".join(f"&#{ord(letter)};" if letter in _MARKDOWN or letter < " " else letter for letter in str(text))
    )


def data_uri(content: bytes, media_type: str) -> str:
    """`content` as a data URI, such as `data:image/svg+xml;base64,...`, which an <img> can hold."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
