"""The exceptions of the project. Each carries one sentence for the user: rule, value, remedy.

Errors of our own code are not in this tree: they keep their class and their traceback.

VideoSSRError
├── ConfigError    a parameter that does not exist, or a value out of its range
├── SourceError    the folder, list or file of videos cannot be used
├── DecodeError    one video cannot be read; carries a reason from a fixed list
├── StoreError     the frame store is missing, damaged or of other parameters
├── BenchmarkError the files of a public benchmark are missing, damaged or not the published ones
├── GateError     the data is not fit to train on
├── PolicyError    a model or checkpoint cannot be used
└── TrainingError  training cannot start or continue
"""


class VideoSSRError(Exception):
    """A mistake or a situation that the user can fix, as one sentence. Shown without a traceback."""


class ConfigError(VideoSSRError):
    """A parameter that does not exist, or a value out of its range."""


class SourceError(VideoSSRError):
    """The source of videos cannot be used as a whole."""


class DecodeError(VideoSSRError):
    """One video cannot be read; `reason` is one of `videossr.decode.REASONS`, `detail` says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class StoreError(VideoSSRError):
    """The frame store is missing, damaged, or was written with other parameters."""


class BenchmarkError(VideoSSRError):
    """The files of a public benchmark are missing, damaged, or differ from those published."""


class GateError(VideoSSRError):
    """The gate failed: the data must not be trained on. The gate's page names the rows."""


class PolicyError(VideoSSRError):
    """A model or a checkpoint cannot be used as a video policy."""


class TrainingError(VideoSSRError):
    """Training cannot start or cannot continue."""
