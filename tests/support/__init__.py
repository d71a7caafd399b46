"""Helpers of the tests: small videos, policies and data sets, and the path of the project."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"  # files beside the project; tests that need them are skipped without them
