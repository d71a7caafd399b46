"""The `train` section of a run."""

from dataclasses import dataclass, field
from typing import Literal

from videossr.errors import ConfigError
from videossr.newborn import NewbornParams

NEWBORN = "newborn"


@dataclass(frozen=True)
class WarmupParams:
    """The supervised warm start of a new-born policy: it learns to speak before it is reinforced."""

    steps: int = 400
    batch_size: int = 16
    learning_rate: float = 1e-3
    checkpoint_every: int = 100


@dataclass(frozen=True)
class GrpoParams:
    """GRPO; the defaults are the paper's (section 4.1 and the published configuration)."""

    steps: int = 469
    prompts_per_step: int = 64
    prompts_per_forward: int = 1
    group_size: int = 8
    learning_rate: float = 1e-6
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    kl_coefficient: float = 1e-3
    temperature: float = 1.0
    loss_type: str = "grpo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    max_completion_tokens: int = 2048
    max_gradient_norm: float = 1.0
    checkpoint_every: int = 50
    gradient_checkpointing: bool = True
    bf16: bool = True

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise ConfigError(
                f"group_size must be at least 2 (an advantage compares completions), got {self.group_size}"
            )
        if self.prompts_per_forward < 1 or self.prompts_per_step % self.prompts_per_forward:
            raise ConfigError(
                f"prompts_per_step ({self.prompts_per_step}) must be a multiple of prompts_per_forward "
                f"({self.prompts_per_forward}): groups stay whole in every forward pass"
            )


@dataclass(frozen=True)
class TrainParams:
    """Which policy is trained, and how.

    `policy` is `newborn` or a checkpoint by name or folder. `reward` is the paper's smooth reward or its strict,
    all-or-nothing variant (Table 4). `shared_prefix` computes every prompt once a group; `off` repeats it, and
    `verify` does both once and compares.
    """

    policy: str = NEWBORN
    seed: int = 0
    reward: Literal["smooth", "strict"] = "smooth"
    shared_prefix: Literal["on", "off", "verify"] = "on"
    newborn: NewbornParams = field(default_factory=NewbornParams)
    warmup: WarmupParams = field(default_factory=WarmupParams)
    grpo: GrpoParams = field(default_factory=GrpoParams)
