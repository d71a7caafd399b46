"""The supervised warm start: a tiny random policy learns the form of the answers, then puzzles, before GRPO."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from videossr.models.attention import use_branched_attention
from videossr.storage.atomic import atomic_file
from videossr.train.params import WarmupParams, WarmupPhase
from videossr.train.warmup_batches import WarmupBatches, phase_at
from videossr.train.warmup_gradients import PartGradient, part_gradient, part_gradients, set_gradient, two_parts

log = logging.getLogger(__name__)

_BETAS = (0.9, 0.98)
_WEIGHT_DECAY = 0.01
_TEXT_FLOOR = 0.3  # of the learning rate, at the end of a phase of text alone


def warm_up(
    model: Any, batches: WarmupBatches, params: WarmupParams, pad_token_id: int, checkpoint: Path
) -> list[dict[str, float]]:
    """Minimise the negative log-likelihood of the right answers, in place; returns the loss of every step.

    Writes `checkpoint` every `params.checkpoint_every` steps. Where it exists, training continues from it, on the same
    course.
    """
    use_branched_attention(model)
    optimizers = make_optimizers(model, params)
    curve = _restore(checkpoint, model, optimizers)
    model.train()

    def compute(step: int, part: int) -> PartGradient:
        groups = batches.groups(step, two_parts(batches.size(step))[part])
        return part_gradient(model, groups, params.prompts_per_forward, pad_token_id)

    steps = range(len(curve), params.steps)
    with part_gradients(model, compute) as gradients_of:
        for step in tqdm(steps, "warm start", total=params.steps, initial=len(curve), unit="step", mininterval=1):
            loss = set_gradient(model, gradients_of(step))
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            _set_rates(optimizers, rate_factor(params.phases, step))
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            curve.append({"step": step + 1, "loss": loss})
            if len(curve) % params.checkpoint_every == 0:
                _save(checkpoint, model, optimizers, curve)
    return curve


def rate_factor(phases: Sequence[WarmupPhase], step: int) -> float:
    """The learning rate of a step as a share of the highest.

    In a phase of text alone it rises over a tenth of the steps and falls linearly to 0.3. All phases with videos
    together rise over a twentieth of their steps and fall along a cosine to zero.
    """
    index, place = phase_at(phases, step)
    if not phases[index].shows_videos:
        rise, x = _rise_and_rest(place, phases[index].steps, 0.1)
        return rise * (1 - (1 - _TEXT_FLOOR) * x)
    place += sum(phase.steps for phase in phases[:index] if phase.shows_videos)
    rise, x = _rise_and_rest(place, sum(phase.steps for phase in phases if phase.shows_videos), 0.05)
    return rise * 0.5 * (1 + math.cos(math.pi * x))


def _rise_and_rest(step: int, total: int, rising_share: float) -> tuple[float, float]:
    """How far the rate has risen, and how far the steps after the rise have passed, both 0..1."""
    rising = max(2, int(rising_share * total))
    return min(1.0, (step + 1) / rising), max(0.0, (step - rising) / max(1, total - rising))


def make_optimizers(model: Any, params: WarmupParams) -> list[torch.optim.Optimizer]:
    """AdamW for all weights, or Muon for the matrices and AdamW for the rest.

    Muon makes all directions of an update equally long, which suits matrices; rows of an embedding are vectors of their
    own, and the output layer shares them.
    """
    matrices, rest = list[torch.nn.Parameter](), list[torch.nn.Parameter]()
    for name, weight in model.named_parameters():
        is_matrix = weight.ndim == 2 and "embed" not in name and "lm_head" not in name
        (matrices if params.optimizer == "muon" and is_matrix else rest).append(weight)
    adamw = torch.optim.AdamW(rest, lr=params.learning_rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY)
    if not matrices:
        return [adamw]
    muon = torch.optim.Muon(
        matrices, lr=params.matrix_learning_rate, weight_decay=_WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, adamw]


def _set_rates(optimizers: Sequence[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * factor


def _save(checkpoint: Path, model: Any, optimizers: Sequence[Any], curve: list[dict[str, float]]) -> None:
    optimizer_states = [optimizer.state_dict() for optimizer in optimizers]
    state = {"model": model.state_dict(), "optimizers": optimizer_states, "curve": curve}
    with atomic_file(checkpoint) as temporary:
        torch.save(state, temporary)


def _restore(checkpoint: Path, model: Any, optimizers: Sequence[Any]) -> list[dict[str, float]]:
    if not checkpoint.exists():
        return []
    state = torch.load(checkpoint, weights_only=True, map_location=model.device)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    log.info("warm start continues from step %d", len(state["curve"]))
    curve: list[dict[str, float]] = state["curve"]
    return curve
