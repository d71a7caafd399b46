"""From the parameters of a run to a trainer that is ready to start."""

import importlib.util
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, ProgressCallback
from trl import GRPOConfig

from videossr.errors import TrainingError
from videossr.models.backbone import backbone
from videossr.models.checkpoint import load_empty_model, load_model, load_processor
from videossr.models.policy import Prompt
from videossr.pretext.baselines import blind_floors
from videossr.records import Sample
from videossr.train.checkpoints import WholeCheckpoints
from videossr.train.curriculum import Curriculum
from videossr.train.grpo import VideoGRPOTrainer
from videossr.train.launch import receives_weights, shard_on_cpus_too
from videossr.train.params import BITSANDBYTES, GrpoParams, LoraParams, TrainParams
from videossr.train.progress import Progress, RunLog
from videossr.train.prompt_builder import PromptBuilder
from videossr.train.reward import completion_scorer, reward_function

log = logging.getLogger(__name__)


def build_trainer(
    params: TrainParams,
    samples: Sequence[Sample],
    render: Callable[[Sample], Prompt],
    policy: str,
    work: Path,
    key: str,
    curriculum: Curriculum | None,
    log_metrics: Callable[[dict[str, float], int], None],
    warn: Callable[[str, str], None] = lambda kind, sentence: None,
) -> VideoGRPOTrainer:
    """The trainer of one run.

    `policy` is the checkpoint that it starts from, `work` the folder for its checkpoints and its log, `key` the run's
    key. `log_metrics(metrics, step)` is called with every logged step, `warn(kind, sentence)` once for each kind of
    stall. Raises PolicyError and TrainingError.
    """
    _require_optimizer(params.grpo)
    load = load_empty_model if receives_weights(PartialState(), os.environ) else load_model
    model = load(policy, _dtype(params))
    if params.freeze_vision:
        backbone(model).visual.requires_grad_(False)
    processor = load_processor(policy)
    args = _trl_config(params, work, model)
    shard_on_cpus_too(args.distributed_state, os.environ)
    needs_reference = params.grpo.kl_coefficient > 0 and params.lora is None
    trainer = VideoGRPOTrainer(
        model=model,
        reward_funcs=reward_function(params.grpo.group_size),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": sample.sample_id} for sample in samples]),
        processing_class=processor,
        peft_config=_lora_config(model, params.lora),
        reference=load(policy, _dtype(params)) if needs_reference else None,
        prompt_builder=PromptBuilder(
            samples, render, processor, params.grpo.max_prompt_tokens, params.seed, curriculum
        ),
        scorer=completion_scorer(params),
        blind_floors=blind_floors(samples),
        grpo=params.grpo,
        shared_prefix=params.shared_prefix,
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(Progress(RunLog(work / "grpo.jsonl"), log_metrics, warn, params.grpo.max_completion_tokens))
    trainer.add_callback(WholeCheckpoints(key))
    return trainer


def _dtype(params: TrainParams) -> str:
    if not params.grpo.bf16:
        return "float32"
    return "bfloat16" if params.lora is not None else params.grpo.weights


def _lora_config(model: Any, lora: LoraParams | None) -> LoraConfig | None:
    """Adapters on the language model alone; some vision towers use the same layer names.

    Raises TrainingError where no linear layer has one of the names.
    """
    if lora is None:
        return None
    named = backbone(model).language_model.named_modules()
    present = {name.rpartition(".")[2] for name, module in named if isinstance(module, torch.nn.Linear)}
    reached, missing = (
        [name for name in lora.targets if (name in present) == is_present] for is_present in (True, False)
    )
    if not reached:
        raise TrainingError(
            f"lora.targets must name linear layers of the language model, {', '.join(missing)} match none: "
            f"choose among {', '.join(sorted(present))}"
        )
    if missing:
        log.warning("no linear layer is called %s: adapters train %s alone", ", ".join(missing), ", ".join(reached))
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=0.0,
        target_modules=rf".*language_model.*\.({'|'.join(lora.targets)})",
        task_type="CAUSAL_LM",
    )


def _require_optimizer(grpo: GrpoParams) -> None:
    if grpo.optimizer not in BITSANDBYTES:
        return
    if importlib.util.find_spec("bitsandbytes") is None or not torch.cuda.is_available():
        raise TrainingError(
            f"grpo.optimizer '{grpo.optimizer}' needs a GPU and the extra 'optimizers' (pip install "
            "'videossr[optimizers]'): install it, or set adamw_torch_fused"
        )


# What TRL would otherwise decide for us: every setting of TRL that moves a number is here or in `_trl_config`
# (tests/train/test_trl_settings.py lists those that move none).
_FIXED = {
    "use_bias_correction_kl": False,  # the paper's divergence: k3 of the policy at hand, without an importance weight
    "disable_dropout": True,  # the loss scores the distribution that the completions were sampled from
    "cast_lm_head_to_fp32": False,
    "shuffle_dataset": True,
    "delta": None,
    "sapo_temperature_neg": 1.05,
    "sapo_temperature_pos": 1.0,
    "vespo_k_pos": 2.0,
    "vespo_lambda_pos": 3.0,
    "vespo_k_neg": 3.0,
    "vespo_lambda_neg": 2.0,
    "reward_weights": None,
    "multi_objective_aggregation": "sum_then_normalize",
    "sync_ref_model": False,
    "use_adaptive_entropy": False,
    "off_policy_mask_threshold": None,
    "lr_scheduler_kwargs": None,
    "optim_args": None,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "label_smoothing_factor": 0.0,
    "neftune_noise_alpha": None,
    "fp16": False,
    "tf32": None,
    "use_liger_kernel": False,
    "torch_compile": False,
    "data_seed": None,
    "full_determinism": False,
}


def _trl_config(params: TrainParams, work: Path, model: Any) -> GRPOConfig:
    grpo = params.grpo
    is_mixture = hasattr(model.config.get_text_config(), "output_router_logits")
    return GRPOConfig(
        **_FIXED,
        router_aux_loss_coef=0.0 if is_mixture else None,  # the paper's loss has no term that balances experts
        output_dir=str(work / "grpo"),
        seed=params.seed,
        max_steps=grpo.steps,
        per_device_train_batch_size=grpo.prompts_per_forward * grpo.group_size,
        gradient_accumulation_steps=grpo.prompts_per_step // grpo.prompts_per_forward // params.processes,
        num_generations=grpo.group_size,
        num_iterations=grpo.updates_per_rollout,
        max_completion_length=grpo.max_completion_tokens,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type=grpo.lr_schedule,
        warmup_steps=grpo.lr_warmup_steps,
        optim=grpo.optimizer,
        weight_decay=grpo.weight_decay,
        max_grad_norm=grpo.max_gradient_norm,
        beta=grpo.kl_coefficient,
        temperature=grpo.temperature,
        loss_type=grpo.loss_type,
        importance_sampling_level=grpo.importance,
        epsilon=grpo.clip_low,
        epsilon_high=grpo.clip_high,
        scale_rewards=grpo.scale_rewards,
        entropy_coef=grpo.entropy_bonus,
        top_entropy_quantile=grpo.top_entropy_share,
        mask_truncated_completions=grpo.mask_truncated,
        bf16=grpo.bf16,
        gradient_checkpointing=grpo.gradient_checkpointing,
        remove_unused_columns=False,
        logging_steps=1,
        save_steps=grpo.checkpoint_every,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
