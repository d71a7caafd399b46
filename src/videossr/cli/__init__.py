"""The command `videossr`: everything that a person does beside `make demo` and the stages."""

from videossr.cli.app import app, main

__all__ = ["app", "main"]
