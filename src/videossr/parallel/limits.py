"""What one item may cost, and what is said of an item that is lost."""

from dataclasses import dataclass

from videossr.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """What one item may cost: seconds on the clock, and memory beyond what an idle process has.

    Memory is limited on Linux alone: other systems do not count what a process has allocated.
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
    """Why an item has no result: `reason` is timeout, out_of_memory or crashed; `traceback_text` a traceback where one is."""

    reason: str
    detail: str
    traceback_text: str = ""
