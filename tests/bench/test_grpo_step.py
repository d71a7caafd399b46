"""The benchmark of a GRPO step: its prompts have the processor's layout, and its rows are medians over pairs."""

import json
import statistics

import torch
from transformers import AutoConfig

from bench import gpu_step, grpo_step, step_parts, trainer_step
from tests.support import tiny_policy
from videossr.models.checkpoint import load_processor
from videossr.models.encode_prompt import encode


def test_a_synthetic_prompt_has_the_layout_of_the_processor(tmp_path):
    folder = tiny_policy.write_tiny(tmp_path)
    sample, store = trainer_step.make_sample(8, 64)
    real = encode(load_processor(folder), trainer_step.render(sample, store))
    synthetic = gpu_step.synthetic_prompt(AutoConfig.from_pretrained(folder), frames=8, side=64)
    assert torch.equal(synthetic.video_grid_thw, real.video_grid_thw)
    assert synthetic.pixel_values_videos.shape == real.pixel_values_videos.shape
    assert synthetic.mm_token_type_ids.sum() == real.mm_token_type_ids.sum()


def test_the_rows_of_an_architecture_are_named_after_it_and_written_to_the_file(tmp_path, monkeypatch):
    config = AutoConfig.from_pretrained(tiny_policy.write_tiny(tmp_path / "tiny-random"))
    rows = gpu_step.compare_gpu("Some/Tiny-VL-Instruct", config, repeats=1, frames=4, side=64)
    row_of = {row.name: row for row in rows}
    parts = [row_of[f"gpu_tiny_vl_{part}"] for part in ("fwd_bwd", "reference", "rollout")]
    groups = row_of["gpu_tiny_vl_groups"]
    assert groups.unit == "groups/s"
    assert groups.ours == 1 / sum(row.ours for row in parts) and groups.ratio > 1
    monkeypatch.chdir(tmp_path)
    grpo_step.report(parts)
    grpo_step.report([groups])
    assert [row["name"] for row in json.loads(grpo_step.OUT.read_text())] == [*(row.name for row in parts), groups.name]


def test_times_and_their_ratio_are_medians_over_pairs():
    our_seconds, their_seconds = iter([9, 1, 2, 3]), iter([9, 4, 4, 30])
    ours, theirs, ratio = step_parts.time_pairs(lambda: next(our_seconds), lambda: next(their_seconds), 3)
    assert (ours, theirs, ratio) == (2, 4, statistics.median([4, 2, 10]))
