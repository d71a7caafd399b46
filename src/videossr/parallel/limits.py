"""The limits of one item, and why an item failed."""

from dataclasses import dataclass

from videossr.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """The limits of one item: seconds of processor time, and memory above that of an idle process.

    An item may also wait, for a file or a network, as many seconds at a time; waiting for a processor does not count.
    Memory is limited on Linux only; other systems do not count what a process has allocated.
    """

    seconds: float = 300.0
    megabytes: int = 2048

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.megabytes < 64:
            raise ConfigError(
                f"an item needs more than 0 seconds and at least 64 megabytes, got {self.seconds} and {self.megabytes}"
            )


@dataclass(frozen=True)
class Failure:
    """Why an item has no result. `reason` is timeout, out_of_memory or crashed; `traceback` is a text, or empty."""

    reason: str
    detail: str
    traceback: str = ""
