"""The command `videossr`: everything that a user runs apart from `make` and the stages."""

from videossr.cli.app import app, main

__all__ = ["app", "main"]
