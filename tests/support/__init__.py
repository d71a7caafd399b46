"""Helpers of the tests: small videos, small policies, small data, and where the project lies."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"  # material beside the project; tests that use it skip where it is absent
