"""Real policies in the evaluator: by name, with a video read once, in several processes, on a server, by command."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from typer.testing import CliRunner

from tests.evaluation.downstream.test_run import answer, load_made
from tests.support import ROOT, families, tiny_policy
from videossr.cli import app
from videossr.errors import BenchmarkError, ConfigError, PolicyError
from videossr.evaluation.downstream import open_policy, read_answers
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.policy import BlindPolicy, Prompt

SHARED = ("qwen2_5_vl", "qwen3_vl", "qwen3_5")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_policy.write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def brief(made):
    """The questions of Video-MME, whose replies have six tokens."""
    items, found = load_made(made, "videomme")
    prompts = {name: replace(each, reply_tokens=6) for name, each in items.benchmark.prompts.items()}
    return replace(items, benchmark=replace(items.benchmark, prompts=prompts)), found


def vary_replies(model) -> None:
    """Give a random model an output layer and weights by which questions differ: else it says one thing to all."""
    head = model.get_output_embeddings()
    torch.manual_seed(0)
    head.weight = torch.nn.Parameter(torch.randn_like(head.weight))
    for weight in model.model.language_model.layers.parameters():
        weight.data *= 4 if weight.dim() == 2 else 1


@pytest.mark.parametrize("family", SHARED)
def test_the_questions_of_a_video_share_it_and_have_the_replies_of_one_at_a_time(brief, tmp_path, family):
    policy = open_policy(str(families.write_family(family, tmp_path / family))).policy
    vary_replies(policy.model)
    passes = []
    tower = policy.model.model.visual
    tower.register_forward_hook(lambda *_: passes.append(1))
    together = answer(policy, brief, tmp_path / "together", batch_size=4)
    assert len(passes) == 6, "six videos, each read once for its two questions"
    alone = answer(policy, brief, tmp_path / "alone", batch_size=1)
    assert len(passes) == 6 + 12
    assert together.replies == alone.replies and len(set(alone.replies.values())) > 1


def test_a_policy_without_the_video_reads_its_grey_frames_once(brief, checkpoint, tmp_path):
    named = open_policy(f"blind:{checkpoint}")
    assert (
        isinstance(named.policy, BlindPolicy) and named.policy_id == f"blind {open_policy(str(checkpoint)).policy_id}"
    )
    passes = []
    named.policy.policy.model.model.visual.register_forward_hook(lambda *_: passes.append(1))
    answers = answer(named.policy, brief, tmp_path, policy_id=named.policy_id)
    assert len(passes) == 6 and answers.header["decoding"]["dtype"] == "float32"


def test_the_id_of_a_policy_is_that_of_its_bytes(checkpoint, tmp_path):
    first = open_policy(str(checkpoint))
    copied = shutil.copytree(checkpoint, tmp_path / "copy")
    assert open_policy(str(copied)).policy_id == first.policy_id
    (copied / "notes.txt").write_text("another")
    assert open_policy(str(copied)).policy_id != first.policy_id
    start = tmp_path / "start"
    start.mkdir()
    (start / "policy.json").write_text(json.dumps({"policy": str(checkpoint)}))
    assert open_policy(str(start)).policy_id == first.policy_id


def test_adapters_are_a_policy_that_names_its_base(brief, checkpoint, tmp_path):
    folder = tmp_path / "adapters"
    model = get_peft_model(load_model(checkpoint, "float32"), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    model.save_pretrained(folder)
    load_processor(checkpoint).save_pretrained(folder)
    named, base = open_policy(str(folder)), open_policy(str(checkpoint))
    assert named.policy_id != base.policy_id and named.policy_id.endswith(f" on {base.policy_id}")
    answers = answer(named.policy, brief, tmp_path / "out", policy_id=named.policy_id)
    # Fresh adapters change nothing: their second matrix is zero.
    assert answers.replies == answer(base.policy, brief, tmp_path / "base", policy_id=base.policy_id).replies


def test_a_name_of_the_hub_is_a_policy_with_its_commit(checkpoint, tmp_path, monkeypatch):
    """From the cache that a download leaves, without a network."""
    repository, commit = tmp_path / "models--lab--tiny", "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(checkpoint, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    named = open_policy("lab/tiny")
    assert named.policy_id == f"lab/tiny@{commit}"
    assert len(named.policy.respond([Prompt("What?", ())])) == 1
    with pytest.raises(PolicyError, match="no model can be loaded from 'lab/large'"):
        open_policy("lab/large")


def test_a_policy_that_does_not_exist_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("weights")
    for name, sentence in (("", "must be a folder"), ("file", "must be a folder"), ("empty", "must hold a checkpoint")):
        with pytest.raises(PolicyError, match=sentence):
            open_policy(str(tmp_path / name) if name else name)


def command(checkpoint, made, out, *more):
    arguments = ["--policy", str(checkpoint), "--annotations", str(made), "--part", "--out", str(out)]
    return ["evaluate", *arguments, "--benchmark", "charadessta", "--limit", "3", *more]


def test_the_command_asks_every_number_of_frames_and_prints_scores_beside_chance(checkpoint, made, tmp_path):
    result = CliRunner().invoke(app, command(checkpoint, made, tmp_path, "--frames", "2", "4"), catch_exceptions=False)
    assert result.exit_code == 0 and "charadessta" in result.output and "chance" in result.output
    paths = sorted(tmp_path.glob("*.jsonl"))
    answers = [read_answers(path) for path in paths]
    assert sorted(each.header["frames"]["num_frames"] for each in answers) == [2, 4]
    assert all(len(each.replies) == 3 for each in answers) and all(str(path) in result.output for path in paths)


@pytest.mark.parametrize(
    ("changed", "error", "sentence"),
    [
        (["--benchmark", "mmvu"], ConfigError, "a benchmark must be one of viubench, .*, got 'mmvu'"),
        (["--benchmark", "mvbench"], BenchmarkError, "mvbench needs json/action_antonym.json"),
        (["--protocol", "lmms"], ConfigError, "a protocol must be one of videossr, official"),
        (["--videos", "/nowhere"], BenchmarkError, "must hold its videos, all 6 are missing"),
        (["--limit", "0"], ConfigError, "limit must be at least 1"),
        (["--policy", "endpoint:x"], PolicyError, "an endpoint must be an address"),
    ],
)
def test_a_mistake_is_one_sentence_before_a_question_is_asked(checkpoint, made, tmp_path, changed, error, sentence):
    with pytest.raises(error, match=sentence):
        CliRunner().invoke(app, command(checkpoint, made, tmp_path, "--frames", "4", *changed), catch_exceptions=False)
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_folder_of_another_benchmark_is_one_sentence(checkpoint, made, tmp_path):
    shutil.copytree(made / "charadessta", tmp_path / "cvbench")
    with pytest.raises(BenchmarkError, match="cvbench needs .*CVBench.json"):
        arguments = command(checkpoint, tmp_path, tmp_path / "out", "--frames", "4", "--benchmark", "cvbench")
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.slow
def test_two_processes_of_accelerate_share_the_questions(checkpoint, made, tmp_path):
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "-m"]
    options = ["--frames", "4", "--batch-size", "2", "--limit", "12"]
    run = [sys.executable, "-m", *launch, "videossr.cli", *command(checkpoint, made, tmp_path / "two", *options)]
    paths = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "DVC_ROOT": str(tmp_path)}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **paths}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (tmp_path / "two").glob("*.jsonl")
    locks = {lock.name.split(".jsonl.")[1] for lock in (tmp_path / "two").glob("*.lock")}
    assert {"0-of-2.lock", "1-of-2.lock"} <= locks, "both processes had a part"
    assert done.stdout.count("replies to charadessta") == 1
    CliRunner().invoke(app, command(checkpoint, made, tmp_path / "one", *options), catch_exceptions=False)
    (single,) = (tmp_path / "one").glob("*.jsonl")
    assert read_answers(path).replies == read_answers(single).replies and len(read_answers(path).replies) == 12
    assert path.name == single.name and len(path.read_text().splitlines()) == 13


TEMPLATE_WITH_PICTURES = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for block in message.content %}"
    "{% if block.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ block.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, server: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-2000:]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(log.read_text()[-2000:])


@pytest.mark.slow
def test_the_server_of_transformers_answers(checkpoint, brief, tmp_path):
    """A real server that nobody here wrote, with a checkpoint that accepts pictures."""
    folder = shutil.copytree(checkpoint, tmp_path / "tiny")
    model = load_model(folder, "float32")
    vary_replies(model)
    model.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE_WITH_PICTURES)
    port = free_port()
    serve = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--port", str(port)]
    log = (tmp_path / "server.log").open("w")
    server = subprocess.Popen(
        [*serve, "--host", "127.0.0.1", "--device", "cpu"], stdout=log, stderr=log, start_new_session=True
    )
    try:
        wait_for(port, server, tmp_path / "server.log")
        named = open_policy(f"endpoint:http://127.0.0.1:{port}/v1#{folder}")
        answers = answer(named.policy, brief, tmp_path / "out", policy_id=named.policy_id)
        again = answer(named.policy, brief, tmp_path / "again", policy_id=named.policy_id)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert answers.errors == {}, (tmp_path / "server.log").read_text()[-2000:]
    assert len(answers.replies) == 12 and any(answers.replies.values()) and again.replies == answers.replies
    assert len(set(answers.replies.values())) > 1
