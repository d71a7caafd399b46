"""The `train` section of a run."""

from dataclasses import dataclass, field
from typing import Literal

from videossr.errors import ConfigError
from videossr.models.tiny_random_params import TinyRandomParams
from videossr.pretext import TASKS
from videossr.records import Sample

TINY_RANDOM = "tiny-random"
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo")  # TRL 1.16's
BITSANDBYTES = ("adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit")  # need the extra `optimizers` and a GPU
OPTIMIZERS = ("adamw_torch_fused", "adamw_torch", "adafactor", *BITSANDBYTES)

Reward = Literal["smooth", "strict", "metric"]

_COUNTS = (
    "steps",
    "prompts_per_step",
    "prompts_per_forward",
    "prompts_per_rollout",
    "updates_per_rollout",
    "max_prompt_tokens",
    "max_completion_tokens",
    "checkpoint_every",
)


def _require_at_least(params: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(params, name)
        if value is not None and value < least:
            raise ConfigError(f"{name} must be at least {least}, got {value}")


def _require_above_zero(params: object, *names: str) -> None:
    for name in names:
        if not getattr(params, name) > 0:
            raise ConfigError(f"{name} must be above 0, got {getattr(params, name)}")


@dataclass(frozen=True)
class WarmupPhase:
    """Some steps of the warm start: what they show, and from which samples.

    `mixture` maps kinds ("task/variant") to shares, and samples of these kinds are drawn anew at every step; without it
    the run's samples are used. `settings` changes fields of tasks: `{grounding: {num_frames: 8}}` makes short puzzles,
    for samples that are drawn anew. With `shows_videos: false` a prompt is the question alone, followed by `answers`
    right answers to questions of its kind, which teaches the form of the answers at little cost.
    """

    steps: int = 400
    batch_size: int = 16
    shows_videos: bool = True
    answers: int = 1
    mixture: dict[str, float] = field(default_factory=dict)
    settings: dict[str, dict[str, int | float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_at_least(self, 0, "steps")
        _require_at_least(self, 1, "batch_size", "answers")
        if self.shows_videos and self.answers > 1:
            raise ConfigError(
                f"answers must be 1 where videos are shown (a video has one right answer), got {self.answers}: set "
                "shows_videos: false, or leave answers out"
            )
        for kind, share in self.mixture.items():
            task, _, variant = kind.partition("/")
            if task not in TASKS or variant not in TASKS[task].variants:
                raise ConfigError(f"mixture names an unknown kind '{kind}': write task/variant, as in pretext.train")
            if not share > 0:
                raise ConfigError(f"mixture needs shares above 0, got {share} for '{kind}': leave this kind out")
        for task in self.settings:
            if task not in TASKS:
                raise ConfigError(f"settings: there is no task '{task}': the tasks are {', '.join(TASKS)}")
        if self.settings and not self.mixture:
            raise ConfigError("settings need a mixture: samples that exist already keep their settings")


@dataclass(frozen=True)
class WarmupParams:
    """The supervised warm start of the tiny random policy, in phases, before GRPO.

    `optimizer: muon` updates matrices by Muon at `matrix_learning_rate`, and everything else by AdamW at
    `learning_rate`. `prompts_per_forward` prompts of about one length share a forward pass.
    """

    phases: tuple[WarmupPhase, ...] = (WarmupPhase(),)
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    matrix_learning_rate: float = 5e-3
    prompts_per_forward: int = 16
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        _require_at_least(self, 1, "prompts_per_forward", "checkpoint_every")
        _require_above_zero(self, "learning_rate", "matrix_learning_rate")

    @property
    def steps(self) -> int:
        """The steps of all phases."""
        return sum(phase.steps for phase in self.phases)


@dataclass(frozen=True)
class LoraParams:
    """Low-rank adapters in place of full fine-tuning; `targets` are the linear layers of the language model.

    They have no dropout: completions must be sampled from the distribution that the loss scores.
    """

    rank: int = 64
    alpha: float = 128.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.targets:
            raise ConfigError(f"rank must be at least 1 and targets name a layer, got {self.rank} and {self.targets}")
        _require_above_zero(self, "alpha")
        if "lm_head" in self.targets:
            raise ConfigError(
                "targets must leave lm_head out: the loss reads its weight directly, an adapter is unseen"
            )


@dataclass(frozen=True)
class GrpoParams:
    """GRPO; the defaults are the paper's (section 4.1 and the published configuration).

    With `updates_per_rollout: 1`, as in the paper, the policy that learns is the one that sampled: the ratio is 1, and
    clipping does nothing, except in `cispo`, which scales its gradient by `clip_high`.
    `prompts_per_rollout` bounds how many prompts are rolled out at a time (None: all of a step), to save memory.
    `bf16` computes in bfloat16; `weights` is the type of the trained weights in full fine-tuning: in bfloat16 a step of
    1e-6 mostly rounds to nothing. With `bf16`, frozen weights (reference model, base below adapters) are bfloat16.
    `refill_rounds` above 0 samples further prompts, that many times at most, in place of groups whose rewards are all
    equal (dynamic sampling). `running_task_scale` divides a task's advantages by its running standard deviation.
    """

    steps: int = 469
    prompts_per_step: int = 64
    prompts_per_forward: int = 1
    prompts_per_rollout: int | None = None
    group_size: int = 8
    updates_per_rollout: int = 1
    learning_rate: float = 1e-6
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    lr_warmup_steps: int = 0
    optimizer: str = "adamw_torch_fused"
    weight_decay: float = 0.0
    kl_coefficient: float = 1e-3
    temperature: float = 1.0
    loss_type: str = "grpo"
    importance: Literal["token", "sequence"] = "token"
    clip_low: float = 0.2
    clip_high: float | None = None
    scale_rewards: Literal["group", "batch", "none"] = "group"
    running_task_scale: bool = False
    refill_rounds: int = 0
    entropy_bonus: float = 0.0
    top_entropy_share: float = 1.0
    mask_truncated: bool = False
    max_prompt_tokens: int = 8192
    max_completion_tokens: int = 2048
    max_gradient_norm: float = 1.0
    checkpoint_every: int = 50
    gradient_checkpointing: bool = True
    bf16: bool = True
    weights: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        _require_at_least(self, 1, *_COUNTS)
        _require_at_least(self, 0, "refill_rounds", "lr_warmup_steps")
        _require_at_least(self, 0, "kl_coefficient", "weight_decay", "entropy_bonus", "clip_low", "clip_high")
        _require_above_zero(self, "learning_rate", "temperature", "max_gradient_norm")
        if self.lr_warmup_steps and self.lr_warmup_steps >= self.steps:
            raise ConfigError(
                f"lr_warmup_steps must be below steps, else the learning rate is never reached, got "
                f"{self.lr_warmup_steps} and {self.steps}"
            )
        if self.group_size < 2:
            raise ConfigError(
                f"group_size must be at least 2 (an advantage compares completions), got {self.group_size}"
            )
        if self.prompts_per_step % self.prompts_per_forward:
            raise ConfigError(
                f"prompts_per_step ({self.prompts_per_step}) must be a multiple of prompts_per_forward "
                f"({self.prompts_per_forward}): groups stay whole in every forward pass"
            )
        for name, known in (("loss_type", LOSSES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, got '{getattr(self, name)}'")
        if self.clip_high is not None and self.updates_per_rollout == 1 and self.loss_type != "cispo":
            raise ConfigError(
                "clip_high does nothing with updates_per_rollout: 1 (the ratio is 1): raise updates_per_rollout, or "
                "leave clip_high out"
            )
        if self.checkpoint_every % self.updates_per_rollout:
            raise ConfigError(
                f"checkpoint_every ({self.checkpoint_every}) must be a multiple of updates_per_rollout "
                f"({self.updates_per_rollout}): a rollout is not kept in a checkpoint"
            )
        if not 0 < self.top_entropy_share <= 1:
            raise ConfigError(f"top_entropy_share must be above 0 and at most 1, got {self.top_entropy_share}")


@dataclass(frozen=True)
class Level:
    """One level of a task's difficulty: fields of the task's parameters that change, and the variant if it changes.

    In grounding, `settings: {min_length: 3, max_length: 4, strength: 0.5}` makes the anomaly short and weak; in jigsaw,
    `variant: "8"` asks for eight clips.
    """

    settings: dict[str, int | float] = field(default_factory=dict)
    variant: str | None = None


@dataclass(frozen=True)
class CurriculumParams:
    """Difficulty that follows the policy: a level up above `target` + `band`, a level down below `target` - `band`.

    Compared with them is the running success (skill above the blind floor, 0..1) over the last `window` groups of the
    task. `levels` lists each task's levels, easiest first; a task that is not named keeps its parameters.
    """

    levels: dict[str, tuple[Level, ...]]
    target: float = 0.5
    band: float = 0.1
    window: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.target - self.band <= self.target + self.band <= 1:
            raise ConfigError(f"target -/+ band must stay within 0..1, got {self.target} and {self.band}")
        if self.window < 1:
            raise ConfigError(f"window must be at least 1 group, got {self.window}")
        for task, levels in self.levels.items():
            if len(levels) < 2:
                raise ConfigError(f"levels.{task} must list at least two levels, easiest first, got {len(levels)}")


@dataclass(frozen=True)
class TrainParams:
    """Which policy is trained, and how.

    `policy` is `tiny-random` or a checkpoint by name or folder. `reward` is the paper's smooth reward, its strict,
    all-or-nothing variant (Table 4), or the metric of VIUBench; `reward_by_task` sets it for single tasks (`counting`)
    or kinds (`jigsaw/6`). `shared_prefix: on` computes every prompt once a group, `off` once a completion, and `verify`
    does both once and compares. `freeze_vision` does not train the vision tower. Several `processes` are started by
    accelerate, with the configuration file `accelerate` where it is given; prompts_per_step counts the prompts of all
    processes.
    """

    policy: str = TINY_RANDOM
    seed: int = 0
    reward: Reward = "smooth"
    reward_by_task: dict[str, Reward] = field(default_factory=dict)
    shared_prefix: Literal["on", "off", "verify"] = "on"
    freeze_vision: bool = False
    lora: LoraParams | None = None
    curriculum: CurriculumParams | None = None
    processes: int = 1
    accelerate: str | None = None
    tiny_random: TinyRandomParams = field(default_factory=TinyRandomParams)
    warmup: WarmupParams = field(default_factory=WarmupParams)
    grpo: GrpoParams = field(default_factory=GrpoParams)

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise ConfigError(f"processes must be at least 1, got {self.processes}")
        for task in self.curriculum.levels if self.curriculum else ():
            if task not in TASKS:
                raise ConfigError(f"there is no task '{task}': the tasks are {', '.join(TASKS)}")
        for kind in self.reward_by_task:
            task, _, variant = kind.partition("/")
            if task not in TASKS or (variant and variant not in TASKS[task].variants):
                raise ConfigError(
                    f"reward_by_task names an unknown kind '{kind}': write a task ({', '.join(TASKS)}) or task/variant"
                )
        forwards = self.grpo.prompts_per_step // self.grpo.prompts_per_forward
        if forwards % self.processes:
            raise ConfigError(
                f"grpo.prompts_per_step / grpo.prompts_per_forward ({forwards}) must be a multiple of processes "
                f"({self.processes}): groups never straddle two of them"
            )

    def reward_of(self, sample: Sample) -> Reward:
        """The reward of a sample's kind, else of its task, else the reward of all."""
        return self.reward_by_task.get(sample.kind, self.reward_by_task.get(sample.task, self.reward))
