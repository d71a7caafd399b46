"""Plan an ablation: its variants, each a few changes of the run in `params.yaml`.

All variants of an ablation train for the same number of steps, so they differ in what they train on and in the reward:

- `table4` (paper, Table 4): each task alone and all together, with the smooth and with the strict reward. A task alone
  has the samples that it has in the mixture.
- `figure5` (paper, Figure 5): each task alone with as many samples as the whole mixture, against the mixture.
- `figure6` (paper, Figure 6): each perturbation of anomaly grounding alone, against the mixture.

Differs: the paper does not say how long a task alone was trained in Table 4; here all variants have the same steps.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from videossr.dataset.params import PretextParams
from videossr.errors import ConfigError
from videossr.pretext import TASKS
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.records import FrameTimes, kind_name
from videossr.train.params import Reward, TrainParams

TASK_TITLES = {"grounding": "anomaly grounding", "counting": "object counting", "jigsaw": "temporal jigsaw"}
WHOLE = "all-smooth"  # the mixture with the smooth reward: the run in params.yaml itself
QUICK_SAMPLES, QUICK_STEPS = 600, 20
# Few videos and questions, and a short warm start, which all variants of a seed share.
QUICK = {
    "ingest.source": "sources/ablation-quick.yaml",
    "pretext.viubench.per_column": 10,
    "train.warmup.phases": [{"steps": 150, "batch_size": 16}],
}


@dataclass(frozen=True)
class Variant:
    """One run of an ablation: what it trains on (kinds that are left out have share 0), and which reward it gets."""

    name: str
    label: str
    mixture: Mapping[str, float]
    num_samples: int
    reward: Reward = "smooth"


@dataclass(frozen=True)
class Ablation:
    """The variants, the first of which is the whole mixture, and the sizes that they share.

    `left_out` are variants that these parameters do not allow, with the reason. `reward_keys` are the tasks, and the
    kinds for which the run sets a reward of their own: a variant sets the reward of all of them.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    steps: int
    left_out: Mapping[str, str]
    reward_keys: tuple[str, ...] = tuple(TASKS)
    quick: bool = False


def plan_ablation(
    name: str, pretext: PretextParams, train: TrainParams, num_stored_frames: int, *, quick: bool = False
) -> Ablation:
    """The variants of an ablation of the run with these parameters; `quick` makes each of them small.

    Raises ConfigError where the name is unknown or the run cannot be varied.
    """
    if name not in ABLATIONS:
        raise ConfigError(f"an ablation must be one of {', '.join(ABLATIONS)}, got '{name}'")
    title, make_variants = ABLATIONS[name]
    num_samples = QUICK_SAMPLES if quick else pretext.train.num_samples
    mixture = {kind: share for kind, share in pretext.train.mixture.items() if share > 0}
    whole = Variant(WHOLE, "all tasks, smooth reward", mixture, num_samples)
    left_out = _unfit_perturbations(pretext, num_stored_frames) if name == "figure6" else {}
    variants = [whole, *make_variants(whole, left_out)]
    kinds = {kind: 0.0 for variant in variants for kind in variant.mixture}
    least = train.grpo.prompts_per_step
    variants = [Variant(v.name, v.label, {**kinds, **v.mixture}, max(least, v.num_samples), v.reward) for v in variants]
    reward_keys = tuple(dict.fromkeys([*TASKS, *train.reward_by_task]))
    steps = QUICK_STEPS if quick else train.grpo.steps
    return Ablation(name, title, tuple(variants), steps, left_out, reward_keys, quick)


def overrides(ablation: Ablation, variant: Variant, seed: int, start: str | None) -> dict[str, Any]:
    """The parameters of a variant that differ from `params.yaml`, by dotted name.

    `start` is the checkpoint that every variant of the seed starts from; None where the variant makes it.
    """
    return {
        **(QUICK if ablation.quick else {}),
        "pretext.train.mixture": dict(variant.mixture),
        "pretext.train.num_samples": variant.num_samples,
        "train.seed": seed,
        "train.reward_by_task": dict.fromkeys(ablation.reward_keys, variant.reward),
        "train.grpo.steps": ablation.steps,
        **({"train.policy": start} if start is not None else {}),
    }


def _reward_and_task_variants(whole: Variant, left_out: Mapping[str, str]) -> Iterable[Variant]:
    for reward in ("smooth", "strict"):
        if reward != whole.reward:
            yield Variant(f"all-{reward}", f"all tasks, {reward} reward", whole.mixture, whole.num_samples, reward)
        for alone in _single_tasks(whole):
            num_samples = round(whole.num_samples * sum(alone.mixture.values()) / sum(whole.mixture.values()))
            label = f"{alone.label}, {reward} reward"
            yield Variant(f"{alone.name}-{reward}", label, alone.mixture, num_samples, reward)


def _single_tasks(whole: Variant, left_out: Mapping[str, str] | None = None) -> Iterable[Variant]:
    for task in TASKS:
        mixture = {kind: share for kind, share in whole.mixture.items() if kind.startswith(f"{task}/")}
        if mixture:
            yield Variant(task, f"{TASK_TITLES.get(task, task)} alone", mixture, whole.num_samples)


def _perturbations_alone(whole: Variant, left_out: Mapping[str, str]) -> Iterable[Variant]:
    for perturbation in PERTURBATIONS:
        if perturbation not in left_out:
            mixture = {kind_name("grounding", perturbation): 1.0}
            yield Variant(perturbation.replace("_", "-"), f"{perturbation} alone", mixture, whole.num_samples)


def _unfit_perturbations(pretext: PretextParams, num_stored_frames: int) -> dict[str, str]:
    """The perturbations that cannot be made from so many stored frames, with the reason."""
    video = FrameTimes("", tuple(map(float, range(num_stored_frames))))
    reasons = {}
    for perturbation in PERTURBATIONS:
        try:
            pretext.grounding.fits(video, perturbation)
        except ConfigError as error:
            reasons[perturbation] = str(error)
    return reasons


_Variants = Callable[[Variant, Mapping[str, str]], Iterable[Variant]]
ABLATIONS: dict[str, tuple[str, _Variants]] = {
    "table4": ("Table 4: each task alone and all together, smooth and strict reward", _reward_and_task_variants),
    "figure5": ("Figure 5: one task at full size against the mixture", _single_tasks),
    "figure6": ("Figure 6: each perturbation alone", _perturbations_alone),
}
