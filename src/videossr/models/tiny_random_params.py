"""The sizes of the tiny random policy, readable without torch: `videossr check` reads them in every run."""

from dataclasses import dataclass

from videossr.errors import ConfigError

HEAD_WIDTH = 32  # of the attention in both towers
_SMALLEST_VOCABULARY = 263  # 256 bytes and 7 special tokens


@dataclass(frozen=True)
class TinyRandomParams:
    """Sizes of the tiny random policy. The defaults give about 1.5 million parameters.

    With `linear_attention` it is a Qwen3.5: three of four layers are Gated DeltaNet. Widths are multiples of
    `HEAD_WIDTH`.
    """

    text_width: int = 128
    text_layers: int = 4
    vision_width: int = 96
    vision_layers: int = 2
    vocabulary: int = 512
    linear_attention: bool = False

    def __post_init__(self) -> None:
        for name in ("text_width", "vision_width"):
            width = getattr(self, name)
            if width < HEAD_WIDTH or width % HEAD_WIDTH:
                raise ConfigError(f"{name} must be a multiple of {HEAD_WIDTH}, got {width}")
        for name, least in (("text_layers", 1), ("vision_layers", 1), ("vocabulary", _SMALLEST_VOCABULARY)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
