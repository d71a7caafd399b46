"""GRPO on video: the one file that overrides TRL (pinned to 1.16). Its methods stand in the order of a step.

1. Prompts: `prompt_builder` renders and encodes each sample once, while the step before it runs.
2. Rollout: `models.generation` samples a group of completions for each prompt, with one prefill a prompt.
3. Rewards: `reward` scores each completion once. With `refill_rounds`, `dynamic_sampling` replaces flat groups.
4. Advantages: TRL compares the rewards within each group; `running_task_scale` divides them by a scale of their task.
5. Loss: `prefix` computes the log-probabilities of all completions with one packed forward pass a group; TRL makes the
   loss of them. Groups without an advantage cost no forward pass where they cannot move the loss.
6. Update: TRL's and transformers' own.

Why a subclass: stock `GRPOTrainer` drops the video between rollout and loss, and computes a prompt once a completion.
"""

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import fsdp2_prepare_model, gather_object
from trl import GRPOTrainer
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from videossr.errors import TrainingError
from videossr.models.attention import unshareable_layer, use_branched_attention
from videossr.models.backbone import backbone, gather_head, unwrap
from videossr.models.encode_prompt import EncodedPrompt
from videossr.models.generation import Completion, Decoding, generate_branches, generate_rows, truncate_at_end
from videossr.models.model_inputs import encode_vision, mask_vision_tokens, vision_token_ids, with_positions
from videossr.records import Sample
from videossr.train.batching import chunks, concatenate_padded, split_groups
from videossr.train.checks import check_rollout, check_shared_prefix, check_vision_sensitivity
from videossr.train.curriculum import TaskScale
from videossr.train.deferred_reads import defer_reads, read_metrics
from videossr.train.dynamic_sampling import DynamicSampler, position_seed
from videossr.train.faults import explain_out_of_memory, gradient_norm, stop_with_batch
from videossr.train.launch import receives_weights
from videossr.train.lookahead import LookaheadSampler
from videossr.train.params import GrpoParams
from videossr.train.prefix import Group, repeated_logps, shared_logps
from videossr.train.prompt_builder import EncodedSample, Position, PromptBuilder
from videossr.train.reward import Scorer
from videossr.train.rollout import RolloutGroup
from videossr.train.token_metrics import TokenMetrics

log = logging.getLogger(__name__)

STATE_FILE = "videossr_state.json"  # in a checkpoint: curriculum, reward scale, skipped samples


@dataclass
class StepRecord:
    """What the overridden methods share while TRL works on some groups.

    `groups` are the groups of the rows at hand, in order. `has_gradient` says which of them can move the loss; None
    where all must be computed. `logps` and `entropies`, float [rows, C], are those that the loss was computed from;
    `entropies` is None where the model computes none.
    """

    groups: Sequence[RolloutGroup] = ()
    has_gradient: Sequence[bool] | None = None
    logps: torch.Tensor | None = None
    entropies: torch.Tensor | None = None


def _on_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def _set_device(accelerator: Any, device: torch.device) -> None:
    for state in (PartialState(), accelerator.state):  # accelerate copies the first to the second at times
        state.device = device


@contextmanager
def _without_reference(args: Any, is_given: bool) -> Iterator[None]:
    """Keep TRL from loading a reference, which it would read whole in every process."""
    beta = args.beta
    args.beta = 0.0 if is_given else beta
    try:
        yield
    finally:
        args.beta = beta


def _can_share(model: Any) -> bool:
    layer = unshareable_layer(model)
    if layer is not None:
        log.warning("completions cannot share a prompt through %s: train.shared_prefix is off for this model", layer)
    return layer is None


class VideoGRPOTrainer(GRPOTrainer):
    """TRL's trainer for prompts that hold videos.

    The data set has one column, `prompt`, which holds sample ids; `prompt_builder` makes the prompt of an id, and
    `scorer` scores a completion. `blind_floors` holds the smooth reward of the best blind answer to each task.
    `shared_prefix` chooses the forward passes: `on`, `off`, or `verify` (both once, compared). `reference` is the model
    that the divergence is measured from; None without a divergence, and with adapters, which are switched off for it.
    """

    def __init__(
        self,
        *args: Any,
        prompt_builder: PromptBuilder,
        scorer: Scorer,
        blind_floors: Mapping[str, float],
        grpo: GrpoParams,
        shared_prefix: str,
        reference: Any = None,
        **kwargs: Any,
    ) -> None:
        with _without_reference(kwargs["args"], reference is not None):
            super().__init__(*args, **kwargs)
        self.beta = self.args.beta
        rows_per_forward = self.args.per_device_train_batch_size
        if rows_per_forward % self.num_generations:
            raise TrainingError(
                f"a forward pass must hold whole groups: {rows_per_forward} rows do not divide by "
                f"group_size {self.num_generations}"
            )
        if grpo.refill_rounds and self.is_fsdp_enabled:
            raise TrainingError("grpo.refill_rounds needs a whole model in every process: set it to 0 under FSDP")
        if reference is not None:
            self.ref_model = self._prepare_reference(reference)
        for model in (self.model, self.ref_model):
            if model is not None:
                use_branched_attention(model)
                mask_vision_tokens(model)
                gather_head(model)
        self.prompt_builder = prompt_builder
        self.task_scale = TaskScale() if grpo.running_task_scale else None
        self._scorer = scorer
        self._blind_floors = blind_floors
        self._grpo = grpo
        self._dynamic_sampler = DynamicSampler(prompt_builder, self._sample_groups, grpo.refill_rounds)
        self._decoding = Decoding(
            max_new_tokens=grpo.max_completion_tokens,
            temperature=grpo.temperature,
            end_ids=tuple(self.eos_token_ids),
            suppressed_ids=tuple(vision_token_ids(self.model)),
            pad_id=self._tokenizer.pad_token_id,
        )
        self._has_shared_prefix = shared_prefix != "off" and _can_share(self.model)
        self._must_verify = shared_prefix == "verify" and self._has_shared_prefix
        vision_tower = backbone(self.model).visual.parameters()
        # A sharded tower runs inside the model's own forward pass only, so its features cannot be computed ahead.
        self._encodes_vision_once = not self.is_fsdp_enabled and not any(p.requires_grad for p in vision_tower)
        self._buffered_inputs: list[dict[str, Any]] | None = None
        self._lookahead: LookaheadSampler | None = None  # known once training begins
        self._record = StepRecord()
        self._token_metrics = TokenMetrics(prompt_builder.tasks)
        self._shared_skips: set[str] = set()
        self._losses: list[torch.Tensor] = []  # of the micro-batches of this step

    def _prepare_reference(self, model: Any) -> Any:
        """The reference policy, sharded as the trained one is; its weights are never updated."""
        disable_dropout_in_model(model)
        model.requires_grad_(False)
        add_fused_lm_head(model, temperature=self.temperature)
        if self.is_fsdp_enabled:
            return fsdp2_prepare_model(self.accelerator, model).eval()
        if self.args.bf16:
            model.to(torch.bfloat16)  # no small step can be rounded away
        return self.accelerator.prepare_model(model, evaluation_mode=True)

    # Prompts, rollout, rewards, advantages

    def _get_train_sampler(self, dataset: Any = None) -> LookaheadSampler:
        self._lookahead = LookaheadSampler(
            super()._get_train_sampler(dataset),
            self.train_dataset["prompt"],
            self.args.generation_batch_size,
            self.num_generations,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        return self._lookahead

    def _begin_next(self, sample_ids: Sequence[str]) -> None:
        """Begin to encode the prompts of the rollout after the one of `sample_ids`, while that one runs."""
        if self._lookahead is None:
            return
        following = self._lookahead.prompts_after(sample_ids)
        step, first = self.state.global_step + self.num_iterations, self.accelerator.process_index * len(following)
        self.prompt_builder.begin(following, [(step, first + i) for i in range(len(following))])

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch of one rollout, with the groups that its rows belong to under `groups`."""
        sample_ids = [row["prompt"] for row in inputs[:: self.num_generations]]
        step, first = self.state.global_step, self.accelerator.process_index * len(sample_ids)
        positions = [(step, first + i) for i in range(len(sample_ids))]
        samples = self.prompt_builder.build_all(sample_ids, positions)
        self._begin_next(sample_ids)
        sampled = self._sample_groups(samples, positions)
        self._update_curriculum(sampled)
        groups = self._dynamic_sampler.replace_flat_groups(sampled, positions)
        self._log_step(self._dynamic_sampler.metrics(sampled, groups))
        self._record = StepRecord(groups)
        with self._rows_on_host():
            batch = super()._generate_and_score_completions([row for group in groups for row in group.rows()])
        if self.task_scale is not None:
            self._scale_by_task(batch, groups, self.task_scale)
        has_gradient = (batch["advantages"].view(-1, self.num_generations) != 0).any(dim=1).tolist()
        return {**_on_device(batch, self.accelerator.device), "groups": groups, "has_gradient": has_gradient}

    @contextmanager
    def _rows_on_host(self) -> Iterator[None]:
        """TRL compares rewards and lengths of the rows on the host, where reading them costs no wait.

        With several processes they stay on the device, whose library gathers them.
        """
        home = self.accelerator.device
        if self.accelerator.num_processes == 1:
            _set_device(self.accelerator, torch.device("cpu"))
        try:
            yield
        finally:
            _set_device(self.accelerator, home)

    def _sample_groups(self, samples: Sequence[EncodedSample], positions: Sequence[Position]) -> list[RolloutGroup]:
        """Roll out a group for each sample and score its completions. `positions` seed the rollouts."""
        if not samples:
            return []
        prompts = [with_positions(self.model, sample.prompt) for sample in samples]
        if self._encodes_vision_once:  # for rollout, reference and loss alike
            prompts = encode_vision(self.model, prompts)
        completions = self._roll_out(prompts, [position_seed(self.args.seed, position) for position in positions])
        return [
            self._score_group(EncodedSample(sample.sample, prompt), group)
            for sample, prompt, group in zip(samples, prompts, completions, strict=True)
        ]

    def _roll_out(self, prompts: Sequence[EncodedPrompt], seeds: Sequence[int]) -> list[list[Completion]]:
        """A group of completions for each prompt, `grpo.prompts_per_rollout` prompts at a time."""
        generate = generate_branches if self._has_shared_prefix else generate_rows
        per_pass = self._grpo.prompts_per_rollout or len(prompts)
        rows: list[Completion] = []
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            # One context for all tokens: within it, weights are converted to bfloat16 once, and not at every token.
            self.accelerator.autocast(),
        ):
            for part in chunks(list(zip(prompts, seeds, strict=True)), per_pass):
                part_prompts, part_seeds = zip(*part, strict=True)
                ids = generate(
                    model, part_prompts, self.num_generations, self._decoding, part_seeds, self.is_fsdp_enabled
                )
                rows += [truncate_at_end(row, self._decoding.end_ids) for row in ids.tolist()]
        return [list(group) for group in chunks(rows, self.num_generations)]

    def _score_group(self, encoded: EncodedSample, completions: Sequence[Completion]) -> RolloutGroup:
        sample, curriculum = encoded.sample, self.prompt_builder.curriculum
        texts = self.processing_class.batch_decode(completions, skip_special_tokens=True)
        scores = [self._scorer(sample, text) for text in texts]
        level_floor = curriculum.current_floor(sample.task) if curriculum else None
        floor = self._blind_floors[sample.task] if level_floor is None else level_floor
        return RolloutGroup(encoded, completions, scores, floor)

    def _update_curriculum(self, groups: Sequence[RolloutGroup]) -> None:
        """Tell the curriculum the mean smooth rewards of all processes, before any group is replaced."""
        if self.prompt_builder.curriculum is not None:
            results = [(group.task, group.mean_smooth_reward) for group in groups]
            self.prompt_builder.curriculum.observe(gather_object(results))

    def _log_step(self, metrics: Mapping[str, float]) -> None:
        """Log metrics of the rollout: those given, the number of samples skipped so far, the curriculum's levels."""
        self._share_skips()
        skipped, curriculum = self.prompt_builder.skipped, self.prompt_builder.curriculum
        levels = {f"level/{name}": level for name, level in curriculum.levels.items()} if curriculum else {}
        for name, value in {**metrics, **({"skipped": len(skipped)} if skipped else {}), **levels}.items():
            self._metrics["train"][name].append(value)

    def _share_skips(self) -> None:
        """Tell every process which samples any of them skipped, because the first process writes the report."""
        skipped = self.prompt_builder.skipped
        news = {name: reason for name, reason in skipped.items() if name not in self._shared_skips}
        for from_process in gather_object([news]):
            for name, reason in from_process.items():
                skipped.setdefault(name, reason)
        self._shared_skips = set(skipped)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        ids = [group.encoded.prompt.input_ids.tolist() for group in self._record.groups]
        return [prompt for prompt in ids for _ in range(self.num_generations)], None, {}

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int, has_tool_images: bool = False
    ) -> tuple[list[Completion], None]:
        return [completion for group in self._record.groups for completion in group.completions], None

    def _scale_by_task(self, batch: dict[str, Any], groups: Sequence[RolloutGroup], scale: TaskScale) -> None:
        """Divide each group's advantages by the running scale of its task's rewards."""
        scale.observe(gather_object([(group.task, group.rewards) for group in groups]))
        advantages = batch["advantages"]
        scales = torch.tensor([scale.of(group.task) for group in groups], device=advantages.device)
        batch["advantages"] = advantages / scales.repeat_interleave(self.num_generations)

    # Loss and update

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Split a rollout into micro-batches of whole groups, in order; no group and no video is cut."""
        every = self.args.steps_per_generation * self.num_iterations
        if self._step % every == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = split_groups(batch, self.args.steps_per_generation)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any) -> torch.Tensor:
        with explain_out_of_memory():
            loss = super().training_step(model, inputs, num_items_in_batch)
        self._losses.append(loss)
        if self.accelerator.sync_gradients:
            self._require_finite(model)
        return loss

    def _require_finite(self, model: Any) -> None:
        """Stop before the update where a loss of this step or its gradient is not finite: one read for all of them."""
        *losses, norm = torch.stack([*self._losses, gradient_norm(model).to(self._losses[0])]).tolist()
        self._losses.clear()
        for ago, loss in enumerate(reversed(losses)):
            if not math.isfinite(loss):
                self._stop(f"the loss is {loss}", ago)
        if not math.isfinite(norm):
            self._stop("the gradient is not finite", 0)

    def _stop(self, fault: str, micro_batches_ago: int) -> None:
        assert self._buffered_inputs is not None
        batch = self._buffered_inputs[(self._step - 1 - micro_batches_ago) % self.args.steps_per_generation]
        step = self.state.global_step + 1
        name = f"fault-step{step}-process{self.accelerator.process_index}.json"
        sample_ids = [group.encoded.sample.sample_id for group in batch["groups"]]
        stop_with_batch(Path(self.args.output_dir) / name, fault, step, sample_ids, batch)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self._record = StepRecord(inputs["groups"], self._groups_with_gradient(inputs["has_gradient"]))
        try:
            with defer_reads():
                loss = super()._compute_loss(model, inputs)
            self._log_tokens(inputs)
            return loss
        finally:
            self._record = StepRecord()  # lets go of the graph

    def _groups_with_gradient(self, has_advantage: Sequence[bool]) -> Sequence[bool] | None:
        """Which groups can move the loss. None where all are computed, because divergence or entropy need each."""
        if self.beta or self._entropy_bonus_enabled or self.top_entropy_quantile < 1:
            return None
        has_gradient = list(has_advantage)
        if self.accelerator.num_processes > 1 and not any(has_gradient):
            has_gradient[0] = True  # every process must run the wrapped model, which synchronises gradients
        return None if all(has_gradient) else has_gradient

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **unused: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        record, completion_ids = self._record, input_ids[:, -logits_to_keep:]
        groups = [self._packable(group) for group in record.groups]
        if self._must_verify:
            self._verify_shared_prefix(model, groups)
        computed = [group for i, group in enumerate(groups) if record.has_gradient is None or record.has_gradient[i]]
        per_pass = max(1, (batch_size or len(input_ids)) // self.num_generations)
        passes = [self._logps(model, part) for part in chunks(computed, per_pass)]
        if record.has_gradient is not None:
            record.logps, record.entropies = self._fill_rows(model, passes, completion_ids, record.has_gradient)
        else:
            logps, entropies = zip(*passes, strict=True)
            record.logps = concatenate_padded(logps, logits_to_keep)
            record.entropies = None if entropies[0] is None else concatenate_padded(entropies, logits_to_keep)
        return record.logps, record.entropies, None

    def _packable(self, group: RolloutGroup) -> Group:
        """The group for a forward pass. A truncated completion that is masked out still takes one place."""
        is_dropped = [self._grpo.mask_truncated and c[-1] not in self._decoding.end_ids for c in group.completions]
        rows = [torch.tensor(c[:1] if dropped else c) for c, dropped in zip(group.completions, is_dropped, strict=True)]
        return Group(group.encoded.prompt, rows)

    def _logps(self, model: Any, groups: Sequence[Group]) -> tuple[torch.Tensor, torch.Tensor | None]:
        with self.accelerator.autocast():
            forward = shared_logps if self._has_shared_prefix else repeated_logps
            return forward(model, groups, self._tokenizer.pad_token_id, self.temperature)

    def _fill_rows(
        self, model: Any, passes: Sequence[Any], completion_ids: torch.Tensor, has_gradient: Sequence[bool]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies of all rows, where only the groups with a gradient were computed.

        The other groups' advantages are 0, so any log-probability serves. TRL averages the entropy over all rows: the
        others get the mean of the computed ones, or NaN where none was computed.
        """
        width, device = completion_ids.shape[1], unwrap(model).device
        logps = torch.zeros(completion_ids.shape, device=device)
        if not passes:
            # The step must still be one of a zero gradient, so that moments and weights decay.
            zero = sum((p * 0).sum() for p in model.parameters() if p.requires_grad)
            return logps + zero, torch.full_like(logps, torch.nan)
        rows = torch.tensor(has_gradient).repeat_interleave(self.num_generations).nonzero()[:, 0].to(device)
        computed_logps, computed_entropy = (concatenate_padded(values, width) for values in zip(*passes, strict=True))
        is_token = computed_entropy > 0
        mean_entropy = computed_entropy.where(is_token, 0.0).sum() / is_token.sum()  # NaN where there is none
        entropy = mean_entropy.expand_as(logps).index_copy(0, rows, computed_entropy)
        return logps.to(computed_logps.dtype).index_copy(0, rows, computed_logps), entropy

    @torch.no_grad()
    def _log_tokens(self, inputs: Mapping[str, Any]) -> None:
        """Log divergence (by the loss's estimator) and entropy by task, over all tokens of the step."""
        record, mask = self._record, inputs["completion_mask"]
        tasks = [group.task for group in record.groups]
        assert record.logps is not None
        if self.beta:
            log_ratio = inputs["ref_per_token_logps"] - record.logps
            self._token_metrics.add("kl", tasks, log_ratio.exp() - log_ratio - 1, mask)
        if record.entropies is not None:
            self._token_metrics.add("entropy", tasks, record.entropies, mask, record.has_gradient)
        if self.accelerator.sync_gradients:
            means = self._token_metrics.take(lambda sums: self.accelerator.reduce(sums, reduction="sum"))
            for name, value in means.items():
                self._metrics["train"][name].append(value)
            read_metrics(self._metrics["train"])

    # Checks before and during the first step

    def check_vision_sensitivity(self, samples: Sequence[Sample]) -> float:
        """How far other pixels move the log-probabilities of the right answers, on the loss's own path; in nats.

        Raises TrainingError where nothing moves: the loss would not depend on the video. NaN in a process that has
        no weights yet.
        """
        if receives_weights(PartialState(), os.environ):
            return math.nan
        home = self.model.device
        self.model.to(self.accelerator.device)  # sharded training leaves it on the host until it begins
        prompts = [self.prompt_builder.build(sample.sample_id, 0).prompt for sample in samples]
        answers = [self._tokenizer(sample.answer, return_tensors="pt").input_ids[0] for sample in samples]
        groups = [Group(prompt, [answer]) for prompt, answer in zip(prompts, answers, strict=True)]
        nats = check_vision_sensitivity(groups, lambda batch: self._logps(self.model, batch)[0])
        self.model.to(home)
        return nats

    def _verify_shared_prefix(self, model: Any, groups: Sequence[Group]) -> None:
        """Compare packed loss and rollout with rows that repeat the prompt, on the first groups that were sampled."""
        self._must_verify = False
        tolerance = 0.1 if self.args.bf16 else 1e-3
        with self.accelerator.autocast():
            check_shared_prefix(model, groups, self._tokenizer.pad_token_id, self.temperature, tolerance)
            if not self.is_fsdp_enabled:  # one process at a time cannot sample from a sharded model
                prompts = [group.prompt for group in groups]
                check_rollout(unwrap(model), prompts, self.num_generations, self._decoding, tolerance)

    # Checkpoints

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            curriculum = self.prompt_builder.curriculum
            state = {
                "skipped": self.prompt_builder.skipped,
                "curriculum": curriculum and curriculum.state(),
                "scale": self.task_scale and self.task_scale.state(),
            }
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            (folder / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
        self.accelerator.wait_for_everyone()  # only then is the checkpoint marked as whole

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        state = json.loads((Path(checkpoint) / STATE_FILE).read_text(encoding="utf-8"))
        self.prompt_builder.skipped.update(state["skipped"])
        if self.prompt_builder.curriculum is not None:
            self.prompt_builder.curriculum.restore(state["curriculum"])
        if self.task_scale is not None:
            self.task_scale.restore(state["scale"])
