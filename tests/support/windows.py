"""Ids of windows for tests: several windows of each of a few source videos."""

from videossr.records import window_id


def window_of(source: int, window: int = 0) -> str:
    """The id of a window, ten seconds long, of a source video."""
    return window_id(f"{source:016x}", 10_000 * window, 10_000 * (window + 1))
