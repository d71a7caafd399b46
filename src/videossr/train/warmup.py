"""The supervised warm start: a tiny random policy learns the form of the answers before GRPO."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from trl.trainer.utils import add_fused_lm_head

from videossr.records import Sample
from videossr.storage.atomic import atomic_file
from videossr.train.params import WarmupParams
from videossr.train.prefix import Group, shared_logps
from videossr.train.prompt_builder import EncodedSample, PromptBuilder

log = logging.getLogger(__name__)


def warm_up(
    model: Any,
    processor: Any,
    samples: Sequence[Sample],
    prompt_builder: PromptBuilder,
    params: WarmupParams,
    seed: int,
    checkpoint: Path,
) -> list[dict[str, float]]:
    """Minimise the negative log-likelihood of the right answers, in place; returns the loss of every step.

    Writes `checkpoint` every `params.checkpoint_every` steps. Where it exists, training continues from it, on the same
    course.
    """
    add_fused_lm_head(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    num_steps = max(params.steps, 3)  # the schedule needs two rising steps and a falling one, or it divides by zero
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, params.learning_rate, total_steps=num_steps, pct_start=max(0.1, 2 / num_steps)
    )
    curve = _restore(checkpoint, model, optimizer, schedule)
    model.train()
    batches = _batches(samples, params, seed, start=len(curve))
    for batch in tqdm(batches, "warm start", total=params.steps, initial=len(curve), unit="step", mininterval=1):
        positions = [(len(curve), place) for place in range(len(batch))]
        encoded = prompt_builder.build_all([sample.sample_id for sample in batch], positions)
        loss = _loss(model, processor, encoded)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        curve.append({"step": len(curve) + 1, "loss": loss.item()})
        if len(curve) % params.checkpoint_every == 0:
            _save(checkpoint, model, optimizer, schedule, curve)
    return curve


def _batches(samples: Sequence[Sample], params: WarmupParams, seed: int, start: int) -> Iterator[list[Sample]]:
    """The samples of each step from `start` on. Step t depends on (seed, t) alone, so a restart repeats it."""
    for step in range(start, params.steps):
        indices = np.random.default_rng([seed, step]).integers(len(samples), size=params.batch_size)
        yield [samples[i] for i in indices]


def _loss(model: Any, processor: Any, batch: Sequence[EncodedSample]) -> torch.Tensor:
    """Mean negative log-likelihood per answer token, end token included."""
    tokenizer = processor.tokenizer
    answers = [encoded.sample.answer + tokenizer.eos_token for encoded in batch]
    groups = [
        Group(encoded.prompt, [tokenizer(answer, return_tensors="pt").input_ids[0]])
        for encoded, answer in zip(batch, answers, strict=True)
    ]
    logps, _ = shared_logps(model, groups, tokenizer.pad_token_id)
    return -logps.sum() / sum(len(group.completions[0]) for group in groups)


def _save(checkpoint: Path, model: Any, optimizer: Any, schedule: Any, curve: list[dict[str, float]]) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "curve": curve,
    }
    with atomic_file(checkpoint) as temporary:
        torch.save(state, temporary)


def _restore(checkpoint: Path, model: Any, optimizer: Any, schedule: Any) -> list[dict[str, float]]:
    if not checkpoint.exists():
        return []
    state = torch.load(checkpoint, weights_only=True, map_location=model.device)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    log.info("warm start continues from step %d", len(state["curve"]))
    return state["curve"]
