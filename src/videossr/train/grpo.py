"""GRPO on video: the one file that reaches into TRL (pinned to 1.16).

Stock `GRPOTrainer` drops the video between rollout and loss, and computes a prompt once for every completion. This
subclass renders and encodes each prompt once a step, keeps the encoded videos beside their rows, and hands both the
rollout and the log-probabilities to the group-shared forward passes.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from trl import GRPOTrainer
from trl.models.utils import unwrap_model_for_generation

from videossr.errors import TrainingError
from videossr.policy import Prompt
from videossr.qwen import Encoded, encode
from videossr.train.prefix import Group, padded_logps, shared_logps
from videossr.train.rollout import repeated_rollout, shared_rollout

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
SIGHT_TOLERANCE = 1e-4  # nats; rounding in bf16 moves a log-probability less than a changed picture does


class VideoGRPOTrainer(GRPOTrainer):
    """TRL's trainer for prompts that hold videos.

    Rows of the data set carry `prompt` (plain text), `sample_id` and whatever the reward reads; `render` makes the
    prompt with its clips from a row. `shared_prefix` chooses the forward passes: `on`, `off`, or `verify` (both, once).
    """

    def __init__(self, *args: Any, render: Callable[[Row], Prompt], shared_prefix: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows_per_forward = self.args.per_device_train_batch_size
        if rows_per_forward % self.num_generations:
            raise TrainingError(
                f"a forward pass must hold whole groups: {rows_per_forward} rows do not divide by "
                f"group_size {self.num_generations}"
            )
        self._render = render
        self._shared = shared_prefix != "off"
        self._verify_pending = shared_prefix == "verify"
        self._rows: Sequence[Row] = []
        self._buffered_inputs: list[dict[str, Any]] | None = None
        self._prompts: list[Encoded] = []  # of the rows a method below is working on, one a group

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._rows = inputs
        batch = super()._generate_and_score_completions(inputs)
        batch["prompts"] = self._prompts
        return batch

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        size = self.num_generations
        self._prompts = [encode(self.processing_class, self._render(row)) for row in self._rows[::size]]
        ids = [prompt.input_ids.tolist() for prompt in self._prompts for _ in range(size)]
        return ids, None, {}

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int, has_tool_images: bool = False
    ) -> tuple[list[list[int]], None]:
        rollout = shared_rollout if self._shared else repeated_rollout
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                generation_kwargs=self.generation_kwargs,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            torch.no_grad(),
        ):
            ids = rollout(model, self._prompts, num_generations, self.generation_config, self._tokenizer.pad_token_id)
        return [_until_end(row, self.eos_token_ids) for row in ids.tolist()], None

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Split what was generated into whole groups, in order: a group is never torn, a video never sliced by row."""
        every = self.args.steps_per_generation * self.num_iterations
        if self._step % every == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = _split_groups(batch, self.args.steps_per_generation)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self._prompts = inputs["prompts"]
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **unused: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        groups = self._groups(input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:])
        per_pass = max(1, (batch_size or len(input_ids)) // self.num_generations)
        passes = [self._logps(model, groups[i : i + per_pass]) for i in range(0, len(groups), per_pass)]
        logps, entropies = zip(*passes, strict=True)
        entropy = None if entropies[0] is None else _cat(entropies, logits_to_keep)
        return _cat(logps, logits_to_keep), entropy, None

    def _groups(self, completion_ids: torch.Tensor, completion_mask: torch.Tensor) -> list[Group]:
        # A truncated completion may be masked out altogether; it still takes one place in its group.
        lengths = completion_mask.sum(dim=1).clamp(min=1).tolist()
        rows = [ids[:length] for ids, length in zip(completion_ids, lengths, strict=True)]
        size = self.num_generations
        return [Group(prompt, rows[i * size : (i + 1) * size]) for i, prompt in enumerate(self._prompts)]

    def _logps(self, model: Any, groups: Sequence[Group]) -> tuple[torch.Tensor, torch.Tensor | None]:
        pad_token_id = self._tokenizer.pad_token_id
        with self.accelerator.autocast():
            if self._verify_pending:
                self._verify(model, groups)
            forward = shared_logps if self._shared else padded_logps
            return forward(model, groups, pad_token_id)

    def _verify(self, model: Any, groups: Sequence[Group]) -> None:
        """Compare the packed forward with the padded one on real groups, once."""
        self._verify_pending = False
        with torch.no_grad():
            shared, _ = shared_logps(model, groups, self._tokenizer.pad_token_id)
            padded, _ = padded_logps(model, groups, self._tokenizer.pad_token_id)
        difference = (shared - padded).abs().max().item()
        tolerance = 0.1 if self.args.bf16 else 1e-3
        if not difference <= tolerance:
            raise TrainingError(
                f"the shared prefix must give the log-probabilities of the padded rows, they differ by "
                f"{difference:.2g} nats: set train.shared_prefix to off, and report the model"
            )
        log.info("shared prefix verified: log-probabilities differ by at most %.2g nats", difference)

    def prove_sight(self, rows: Sequence[Row]) -> float:
        """Change the pixels of `rows` and require that the log-probabilities of their answers move, on the loss's path.

        Returns the largest move in nats. Raises TrainingError when nothing moves: the loss would not see the video.
        """
        prompts = [encode(self.processing_class, self._render(row)) for row in rows]
        answers = [self._tokenizer(row["answer"], return_tensors="pt").input_ids[0] for row in rows]
        with torch.no_grad():
            seen, _ = self._logps(self.model, [Group(p, [a]) for p, a in zip(prompts, answers, strict=True)])
            changed = [Group(_other_pixels(p), [a]) for p, a in zip(prompts, answers, strict=True)]
            blind, _ = self._logps(self.model, changed)
        moved = (seen - blind).abs().max().item()
        if not moved > SIGHT_TOLERANCE:
            raise TrainingError(
                f"the loss must see the video, but other pixels moved the log-probabilities by {moved:.1e} nats: "
                "the model ignores its videos, choose another train.policy"
            )
        return moved


def _other_pixels(prompt: Encoded) -> Encoded:
    return Encoded(
        prompt.input_ids, prompt.mm_token_type_ids, -prompt.pixel_values_videos.flip(0), prompt.video_grid_thw
    )


def _until_end(row: list[int], end_ids: Sequence[int]) -> list[int]:
    """A completion up to and with its first end token."""
    for place, token in enumerate(row):
        if token in end_ids:
            return row[: place + 1]
    return row


def _split_groups(batch: dict[str, Any], parts: int) -> list[dict[str, Any]]:
    """Cut a generated batch into `parts` micro-batches of whole groups; what is not a row stays shared."""
    num_rows = len(batch["completion_ids"])

    def cut(value: Any, part: int) -> Any:
        whole = isinstance(value, torch.Tensor) and (value.dim() == 0 or len(value) != num_rows)
        if value is None or whole:
            return value
        size = len(value) // parts
        return value[part * size : (part + 1) * size]

    return [{name: cut(value, part) for name, value in batch.items()} for part in range(parts)]


def _cat(values: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    return torch.cat([pad(value, (0, width - value.shape[1])) for value in values])
