"""GRPO on video: the one file that reaches into TRL (pinned to 1.16).

Stock `GRPOTrainer` drops the video between rollout and loss, and computes a prompt once for every completion. This
subclass renders and encodes each prompt once a step, keeps the encoded videos beside their rows, and hands both the
rollout and the log-probabilities to the group-shared forward passes. Groups whose rewards are all equal are exchanged
for others on demand, and cost no forward pass where they teach nothing.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from trl import GRPOTrainer
from trl.models.utils import unwrap_model_for_generation

from videossr.errors import TrainingError
from videossr.models.encode_prompt import EncodedPrompt
from videossr.models.model_inputs import backbone, encode_vision
from videossr.train.attention import attend_by_branches
from videossr.train.batching import chunks, concatenate_padded, split_groups, truncate_at_end
from videossr.train.checks import check_shared_prefix, check_vision_sensitivity
from videossr.train.curriculum import TaskScale
from videossr.train.dynamic_sampling import Completions, DynamicSampler
from videossr.train.faults import explain_out_of_memory, finite_gradient, write_fault
from videossr.train.params import GrpoParams
from videossr.train.prefix import Group, padded_logps, shared_logps
from videossr.train.prompt_builder import EncodedSample, PromptBuilder
from videossr.train.reward import Score
from videossr.train.rollout import repeated_rollout, shared_rollout
from videossr.train.token_metrics import TokenMetrics

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
STATE = "lessons.json"  # in a checkpoint: what the curriculum and the reward scale remember


class VideoGRPOTrainer(GRPOTrainer):
    """TRL's trainer for prompts that hold videos.

    Rows of the data set carry `prompt` (plain text), `sample_id` and whatever the reward reads; `lessons` makes the
    puzzle of a row, and `score` pays a completion. `shared_prefix` chooses the forward passes: `on`, `off`, or `verify`
    (both, once).
    """

    def __init__(
        self, *args: Any, lessons: PromptBuilder, score: Score, grpo: GrpoParams, shared_prefix: str, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        rows_per_forward = self.args.per_device_train_batch_size
        if rows_per_forward % self.num_generations:
            raise TrainingError(
                f"a forward pass must hold whole groups: {rows_per_forward} rows do not divide by "
                f"group_size {self.num_generations}"
            )
        if grpo.refill_rounds and self.is_fsdp_enabled:
            raise TrainingError("grpo.refill_rounds needs a whole model in every process: set it to 0 under FSDP")
        if self.ref_model is not None and self.args.bf16 and not self.is_fsdp_enabled:
            self.ref_model.to(torch.bfloat16)  # it learns nothing that could round away
        for packed in (self.model, self.ref_model):
            if packed is not None:
                attend_by_branches(packed)
        self.lessons = lessons
        self.scale = TaskScale() if grpo.running_task_scale else None
        self._grpo = grpo
        self._asking = DynamicSampler(
            lessons,
            score,
            decode=lambda group: self.processing_class.batch_decode(group, skip_special_tokens=True),
            look=self._look,
            roll_out=self._roll_out,
            seed=self.args.seed,
            refill_rounds=grpo.refill_rounds,
        )
        self._shared = shared_prefix != "off"
        self._verify_pending = shared_prefix == "verify"
        visual = backbone(self.model).visual.parameters()
        # A sharded tower runs inside the model's own forward pass only, so that it cannot be asked ahead of it.
        self._looks_ahead = not self.is_fsdp_enabled and not any(parameter.requires_grad for parameter in visual)
        self._buffered_inputs: list[dict[str, Any]] | None = None
        self._prompts: list[EncodedPrompt] = []  # of the rows a method below is working on, one a group
        self._completions: Completions = []
        self._taught: Sequence[bool] | None = None  # which of these groups move the loss; None where all count
        self._means = TokenMetrics(sorted(set(self.train_dataset["task"])))
        self._scored: tuple[torch.Tensor, torch.Tensor | None] | None = None  # what the loss was last computed from

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        names = [row["sample_id"] for row in inputs[:: self.num_generations]]
        first = self.accelerator.process_index * len(names)
        puzzles, groups = self._asking.ask(names, self.state.global_step, first)
        for name, value in self._asking.told().items():
            self._metrics["train"][name].append(value)
        self._prompts = [puzzle.prompt for puzzle in puzzles]
        self._completions = [completion for group in groups for completion in group]
        batch = super()._generate_and_score_completions([p.row for p in puzzles for _ in range(self.num_generations)])
        batch["tasks"] = [puzzle.row["task"] for puzzle in puzzles]
        batch["prompts"] = self._prompts
        batch["sample_ids"] = [puzzle.row["sample_id"] for puzzle in puzzles]
        if self.scale is not None:
            self._rescale(batch, puzzles, groups)
        return batch

    def _roll_out(self, prompts: Sequence[EncodedPrompt], seeds: Sequence[int]) -> list[Completions]:
        """A group of completions for each prompt, so many prompts at a time as memory was said to hold."""
        size, together = self.num_generations, self._grpo.prompts_per_rollout or len(prompts)
        # What a group says must not depend on how the rollout is cut, between passes or between processes.
        seeded = self._grpo.prompts_per_rollout is not None or self.accelerator.num_processes > 1
        roll_out = shared_rollout if self._shared else repeated_rollout
        pad_token_id = self._tokenizer.pad_token_id
        rows: Completions = []
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                generation_kwargs=self.generation_kwargs,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            torch.no_grad(),
        ):
            for part in chunks(list(zip(prompts, seeds, strict=True)), together):
                asked = [prompt for prompt, _ in part]
                noise = [seed for _, seed in part] if seeded else None
                ids = roll_out(
                    model, asked, size, self.generation_config, pad_token_id, noise, synced=self.is_fsdp_enabled
                )
                rows += [truncate_at_end(row, self.eos_token_ids) for row in ids.tolist()]
        return [rows[at : at + size] for at in range(0, len(rows), size)]

    def _look(self, prompts: Sequence[EncodedPrompt]) -> Sequence[EncodedPrompt]:
        """Look at the prompts once for rollout, reference and loss, where the vision tower does not learn."""
        return encode_vision(self.model, prompts) if self._looks_ahead else prompts

    def _rescale(self, batch: dict[str, Any], puzzles: Sequence[EncodedSample], groups: Sequence[Completions]) -> None:
        """Divide each group's advantages by the running scale of its task's rewards."""
        assert self.scale is not None
        pairs = list(zip(puzzles, groups, strict=True))
        self.scale.observe(
            gather_object([(puzzle.row["task"], self._asking.scores(puzzle, group)) for puzzle, group in pairs])
        )
        scales = torch.tensor([self.scale.of(puzzle.row["task"]) for puzzle in puzzles], device=self.accelerator.device)
        batch["advantages"] = batch["advantages"] / scales.repeat_interleave(self.num_generations)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [prompt.input_ids.tolist() for prompt in self._prompts for _ in range(self.num_generations)], None, {}

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int, has_tool_images: bool = False
    ) -> tuple[Completions, None]:
        return self._completions, None

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Split what was generated into whole groups, in order: a group is never torn, a video never sliced by row."""
        every = self.args.steps_per_generation * self.num_iterations
        if self._step % every == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = split_groups(batch, self.args.steps_per_generation)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any) -> torch.Tensor:
        with explain_out_of_memory():
            loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            self._stop(f"the loss is {loss.item()}")
        if self.accelerator.sync_gradients and not finite_gradient(model):
            self._stop("the gradient is not finite")
        return loss

    def _stop(self, fault: str) -> None:
        assert self._buffered_inputs is not None
        batch = self._buffered_inputs[(self._step - 1) % self.args.steps_per_generation]
        name = f"fault-step{self.state.global_step + 1}-process{self.accelerator.process_index}.json"
        write_fault(Path(self.args.output_dir) / name, fault, self.state.global_step + 1, batch)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            state = {
                "skipped": self.lessons.skipped,
                "curriculum": self.lessons.curriculum and self.lessons.curriculum.state(),
                "scale": self.scale and self.scale.state(),
            }
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            (folder / STATE).write_text(json.dumps(state), encoding="utf-8")
        self.accelerator.wait_for_everyone()  # before anyone calls the checkpoint whole

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        state = json.loads((Path(checkpoint) / STATE).read_text(encoding="utf-8"))
        self.lessons.skipped.update(state["skipped"])
        if self.lessons.curriculum is not None:
            self.lessons.curriculum.restore(state["curriculum"])
        if self.scale is not None:
            self.scale.restore(state["scale"])

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self._prompts = inputs["prompts"]
        self._taught = self._teaching(inputs["advantages"])
        try:
            loss = super()._compute_loss(model, inputs)
            self._tell_tasks(inputs)
            return loss
        finally:
            self._taught = self._scored = None

    @torch.no_grad()
    def _tell_tasks(self, inputs: Mapping[str, Any]) -> None:
        """Divergence (the estimate that the loss holds) and entropy of each task, over all tokens of the step."""
        assert self._scored is not None
        (logps, entropies), mask = self._scored, inputs["completion_mask"]
        if self.beta:
            gap = inputs["ref_per_token_logps"] - logps
            self._means.add("kl", inputs["tasks"], gap.exp() - gap - 1, mask)
        if entropies is not None:
            self._means.add("entropy", inputs["tasks"], entropies, mask, self._taught)  # of others none was computed
        if self.accelerator.sync_gradients:
            for name, value in self._means.take(lambda sums: self.accelerator.reduce(sums, reduction="sum")).items():
                self._metrics["train"][name].append(value)

    def _teaching(self, advantages: torch.Tensor) -> Sequence[bool] | None:
        """Which groups move the loss. None where all must be computed: the divergence and the entropy ask for each."""
        if self.beta or self._entropy_bonus_enabled or self.top_entropy_quantile < 1:
            return None
        taught: list[bool] = (advantages.view(-1, self.num_generations) != 0).any(dim=1).tolist()
        if self.accelerator.num_processes > 1 and not any(taught):
            taught[0] = True  # every process must walk through the wrapped model
        return None if all(taught) else taught

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
        if self._verify_pending:
            self._verify(model, groups)
        kept = [group for i, group in enumerate(groups) if self._taught is None or self._taught[i]]
        per_pass = max(1, (batch_size or len(input_ids)) // self.num_generations)
        passes = [self._logps(model, part) for part in chunks(kept, per_pass)]
        if self._taught is not None:
            self._scored = self._spread(model, passes, input_ids[:, -logits_to_keep:])
            return *self._scored, None
        logps, entropies = zip(*passes, strict=True)
        entropy = None if entropies[0] is None else concatenate_padded(entropies, logits_to_keep)
        self._scored = concatenate_padded(logps, logits_to_keep), entropy
        return *self._scored, None

    def _spread(
        self, model: Any, passes: Sequence[Any], completion_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Results of the teaching groups at their rows. The others' advantages are 0: any log-probability will do.

        Their entropy is told as the mean of those that were computed, and as none (NaN) where there are none.
        """
        assert self._taught is not None
        width = completion_ids.shape[1]
        rows = torch.tensor(self._taught, device=completion_ids.device).repeat_interleave(self.num_generations)
        logps = torch.zeros(completion_ids.shape, device=completion_ids.device)
        entropy = torch.full_like(logps, torch.nan)
        if not passes:
            # Nothing is computed, yet the step must be that of a zero gradient: moments decay, weights decay.
            return logps + sum((p * 0).sum() for p in model.parameters() if p.requires_grad), entropy
        computed = [concatenate_padded(values, width) for values in zip(*passes, strict=True)]
        told = computed[1][computed[1] > 0]
        entropy = torch.full_like(logps, told.mean().item() if len(told) else torch.nan)
        place = rows.nonzero()[:, 0]
        return logps.to(computed[0].dtype).index_copy(0, place, computed[0]), entropy.index_copy(0, place, computed[1])

    def _groups(self, completion_ids: torch.Tensor, completion_mask: torch.Tensor) -> list[Group]:
        # A truncated completion may be masked out altogether; it still takes one place in its group.
        lengths = completion_mask.sum(dim=1).clamp(min=1).tolist()
        rows = [ids[:length] for ids, length in zip(completion_ids, lengths, strict=True)]
        size = self.num_generations
        return [Group(prompt, rows[i * size : (i + 1) * size]) for i, prompt in enumerate(self._prompts)]

    def _logps(self, model: Any, groups: Sequence[Group]) -> tuple[torch.Tensor, torch.Tensor | None]:
        pad_token_id = self._tokenizer.pad_token_id
        with self.accelerator.autocast():
            forward = shared_logps if self._shared else padded_logps
            return forward(model, groups, pad_token_id, self.temperature)

    def _verify(self, model: Any, groups: Sequence[Group]) -> None:
        """Compare the packed forward with the padded one on the first groups that were sampled."""
        self._verify_pending = False
        tolerance = 0.1 if self.args.bf16 else 1e-3
        with self.accelerator.autocast():
            check_shared_prefix(model, groups, self._tokenizer.pad_token_id, self.temperature, tolerance)

    def check_vision_sensitivity(self, rows: Sequence[Row]) -> float:
        """How far other pixels move the log-probabilities of the right answers of `rows`, on the loss's path; nats.

        Raises TrainingError when nothing moves: the loss would not see the video.
        """
        home = self.model.device
        self.model.to(self.accelerator.device)  # sharded training leaves it on the host until it begins
        prompts = [self.lessons.puzzle(row["sample_id"], 0).prompt for row in rows]
        answers = [self._tokenizer(row["answer"], return_tensors="pt").input_ids[0] for row in rows]
        groups = [Group(prompt, [answer]) for prompt, answer in zip(prompts, answers, strict=True)]
        moved = check_vision_sensitivity(groups, lambda asked: self._logps(self.model, asked)[0])
        self.model.to(home)
        return moved
