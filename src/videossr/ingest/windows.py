"""The windows that long videos are cut into: their length and how far apart they start."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Windows:
    """The length of a window, and the distance between the starts of two: whole milliseconds, as in their ids."""

    length_ms: int
    stride_ms: int
