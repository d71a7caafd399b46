"""The sizes of the tiny random policy, readable without torch: `videossr check` reads them in every run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TinyRandomParams:
    """Sizes of the tiny random policy. The defaults give about 1.5 million parameters.

    With `linear_attention` it is a Qwen3.5: three of four layers are Gated DeltaNet.
    """

    text_width: int = 128
    text_layers: int = 4
    vision_width: int = 96
    vision_layers: int = 2
    vocabulary: int = 512
    linear_attention: bool = False
