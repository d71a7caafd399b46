"""Every form in which a policy may lie on disk loads, or is refused in one sentence."""

import json
import os
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from tests.support import ROOT, tiny_policy
from videossr.errors import PolicyError
from videossr.models.checkpoint import load_model, load_policy, load_processor, resolve_checkpoint
from videossr.models.policy import render_prompt
from videossr.storage.atomic import write_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_policy.write_tiny(tmp_path_factory.mktemp("policy"))


def replies(name):
    prompts = [render_prompt(s, tiny_policy.TASKS[s.task], tiny_policy.clips()) for s in tiny_policy.samples(2)]
    return load_policy(name, max_new_tokens=4).respond(prompts)


def test_a_checkpoint_in_several_files_is_the_checkpoint_in_one(folder, tmp_path):
    load_model(folder, "float32").save_pretrained(tmp_path, max_shard_size="200KB")
    load_processor(folder).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert replies(tmp_path) == replies(folder)


def test_a_checkpoint_with_a_missing_file_is_refused_in_one_sentence(folder, tmp_path):
    load_model(folder, "float32").save_pretrained(tmp_path, max_shard_size="200KB")
    next(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(PolicyError, match="no model can be loaded from") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_processor_without_videos_is_refused_in_one_sentence(folder, tmp_path):
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(PolicyError, match="no video processor: choose a video model|no model can be loaded"):
        load_processor(tmp_path)


def test_a_pickled_checkpoint_is_not_loaded(folder, tmp_path):
    import torch

    load_model(folder, "float32").config.save_pretrained(tmp_path)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(PolicyError, match="no model can be loaded from"):
        load_model(tmp_path)


def test_a_start_that_points_to_a_name_is_that_name(tmp_path):
    write_json(tmp_path / "policy.json", {"policy": "Qwen/Qwen3-VL-2B-Instruct"})
    assert resolve_checkpoint(tmp_path) == "Qwen/Qwen3-VL-2B-Instruct"


BY_NAME = """
import json, sys
sys.path[:0] = {path!r}
from tests.models.test_checkpoint_forms import replies
from videossr.models.checkpoint import checkpoint_id
print(json.dumps([replies("some/policy"), checkpoint_id("some/policy")]))
"""


@pytest.mark.slow
def test_a_name_on_the_hub_is_its_snapshot_in_the_local_cache(folder, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "hub" / "models--some--policy"
    (model / "snapshots").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    (model / "snapshots" / commit).symlink_to(folder)
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, "-c", BY_NAME.format(path=[str(ROOT), str(ROOT / "src")])]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    given, identity = json.loads(done.stdout)
    assert given == replies(folder) and identity == f"some/policy@{commit}"
