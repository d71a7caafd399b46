"""Every setting of TRL that moves a number is decided by this project, and the divergence is the paper's."""

import ast
import dataclasses
import inspect

import pytest
from trl import GRPOConfig

from tests.support import tiny_training
from videossr.train import build_trainer

# Settings that cannot move a number of ours, by reason. A name that is neither here nor in build_trainer fails a test.
NEUTRAL = {
    "decoding is videossr.models.generation's own": """generation_kwargs chat_template_kwargs cache_implementation top_p
        top_k min_p repetition_penalty use_transformers_continuous_batching transformers_continuous_batching_config
        use_transformers_paged max_tool_calling_iterations pad_to_multiple_of""",
    "no rollout leaves this process": """use_vllm vllm_enable_sleep_mode vllm_gpu_memory_utilization vllm_group_port
        vllm_importance_sampling_cap vllm_importance_sampling_clip_max vllm_importance_sampling_clip_min
        vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_max_model_length vllm_mode
        vllm_model_impl vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout
        vllm_structured_outputs_regex vllm_tensor_parallel_size""",
    "TRL evaluates nothing": """batch_eval_metrics bf16_full_eval do_eval do_predict do_train eval_accumulation_steps
        eval_delay eval_do_concat_batches eval_on_start eval_steps eval_strategy eval_use_gather_object fp16_full_eval
        greater_is_better include_for_metrics load_best_model_at_end metric_for_best_model num_generations_eval
        per_device_eval_batch_size prediction_loss_only""",
    "logs, files and the hub": """debug enable_jit_checkpoint hub_always_push hub_model_id hub_private_repo hub_revision
        hub_strategy hub_token include_num_input_tokens_seen log_completions log_completions_hub_repo log_level
        log_level_replica log_multimodal log_on_each_node log_unique_prompts logging_first_step logging_nan_inf_filter
        logging_strategy num_completions_to_print project push_to_hub run_name save_on_each_node save_only_model
        save_strategy skip_memory_metrics trackio_bucket_id trackio_space_id trackio_static_space_id""",
    "the data set holds ids, all of which are used": """dataloader_drop_last dataloader_in_order
        dataloader_multiprocessing_context dataloader_num_workers dataloader_persistent_workers dataloader_pin_memory
        dataloader_prefetch_factor ignore_data_skip label_names length_column_name train_sampling_strategy""",
    "the launcher decides": """accelerator_config ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb
        ddp_find_unused_parameters ddp_static_graph ddp_timeout deepspeed ds3_gather_for_generation fsdp fsdp_config
        local_rank parallelism_config restore_callback_states_from_checkpoint resume_from_checkpoint""",
    "follows from settings that are decided": """activation_checkpointing activation_checkpointing_kwargs
        auto_find_batch_size average_tokens_across_devices entropy_coef_delta entropy_coef_max entropy_coef_min
        entropy_target generation_batch_size gradient_checkpointing_kwargs liger_kernel_config model_init_kwargs
        num_train_epochs optim_target_modules ref_model_mixup_alpha ref_model_sync_steps steps_per_generation
        torch_compile_backend torch_compile_mode torch_empty_cache_steps trust_remote_code use_cache""",
}


def decided():
    """The settings that build_trainer gives to TRL."""
    (call,) = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(build_trainer._trl_config)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "GRPOConfig"
    ]
    return {keyword.arg for keyword in call.keywords if keyword.arg} | set(build_trainer._FIXED)


def test_every_setting_of_trl_is_decided_or_known_to_move_nothing():
    neutral = " ".join(NEUTRAL.values()).split()
    assert len(neutral) == len(set(neutral)) and not decided() & set(neutral)
    assert {field.name for field in dataclasses.fields(GRPOConfig)} == decided() | set(neutral)


def test_the_divergence_that_is_logged_is_the_one_in_the_loss(tmp_path):
    """At the second update of a rollout, where an importance weight would change it."""
    grpo = {
        "steps": 4,
        "updates_per_rollout": 2,
        "kl_coefficient": 0.1,
        "learning_rate": 5e-3,
        "prompts_per_step": 2,
        "prompts_per_forward": 2,
    }
    tiny_training.run(tmp_path, tiny_training.changed(tiny_training.warm(), grpo))
    rows = tiny_training.curve(tmp_path)
    assert rows[-1]["kl"] > 1e-4, "the policy must have moved, or the test shows nothing"
    assert [row["kl"] for row in rows] == pytest.approx([row["kl/counting"] for row in rows], rel=1e-4)
