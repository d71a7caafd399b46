"""Lineage, the registry and promotion, on a real MLflow database in a folder whose name needs quoting."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from flows import promote, runtime
from tests.support import ROOT, tiny_policy
from tests.support.videos import write_video
from videossr import tracking
from videossr.errors import PolicyError
from videossr.evaluation.runner import write_scored_replies
from videossr.evaluation.viubench import COLUMNS
from videossr.records import ScoredReply

NUM_VIDEOS = 12


@pytest.fixture(scope="module")
def evaluated_project(tmp_path_factory):
    """A project with a checkpoint and reports, as the stages write them. The tests of this module run in its order."""
    folder = tmp_path_factory.mktemp("promoted") / "a 'quoted\" project"
    folder.mkdir()
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["pretext"]["grounding"]["num_frames"] = 8
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "models").mkdir()
    tiny_policy.write_tiny(folder / "models" / "policy")
    (folder / "reports" / "evaluate").mkdir(parents=True)
    (folder / "reports" / "index.html").write_text("<p>page</p>")
    return folder


@pytest.fixture
def project(evaluated_project, monkeypatch):
    """The evaluated project as the working directory."""
    monkeypatch.chdir(evaluated_project)
    monkeypatch.setenv("DVC_ROOT", str(evaluated_project))
    monkeypatch.delenv(runtime.HANDOFF_VARIABLE, raising=False)
    return evaluated_project


def scored_replies(share_correct: float) -> list[ScoredReply]:
    """Replies to every column for twelve videos: correct for a share of the videos, wrong for the others."""
    replies = []
    for video in range(NUM_VIDEOS):
        for column, (task, variant) in COLUMNS.items():
            score = float(video < share_correct * NUM_VIDEOS)
            replies.append(ScoredReply(f"{column}-{video}", task, variant, f"video{video}", "a", "b", True, score))
    return replies


def write_evaluation(folder: Path, policy: str, share_correct: float) -> None:
    """Write the files that training and evaluation of a policy with this hash would write."""
    outs = [{"path": "models/policy", "md5": policy}, {"path": "data/samples/train.parquet", "md5": "5a3"}]
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))
    for name, share in (("constant", 0.25), ("after", share_correct)):
        header = {"samples": "q", "policy": name}
        write_scored_replies(folder / f"reports/evaluate/{name}.jsonl", scored_replies(share), header)
    row = dict.fromkeys([*COLUMNS, "overall"], 100 * share_correct)
    (folder / "reports/viubench.json").write_text(json.dumps({"columns": list(COLUMNS), "rows": {"after": row}}))


def test_a_project_without_a_trained_policy_has_no_lineage(tmp_path):
    with pytest.raises(PolicyError, match="run the pipeline first"):
        tracking.read_lineage(tmp_path)


def test_loading_the_champion_before_the_first_promotion_raises(tmp_path):
    with pytest.raises(PolicyError, match="no champion yet"):
        tracking.load_champion(tmp_path)


def test_a_first_model_that_does_not_beat_the_constant_answer_is_registered_and_not_champion(project):
    write_evaluation(project, "aaa", 0.25)
    assert "version 1 is not significantly better" in promote.promote_if_better()
    assert tracking.champion(project) is None
    assert [version.policy for version in tracking.versions(project)] == ["aaa"]


def test_the_same_policy_is_registered_once(project):
    write_evaluation(project, "aaa", 0.25)
    promote.promote_if_better()
    assert len(tracking.versions(project)) == 1


def test_a_better_model_becomes_champion_with_its_lineage_and_the_reason(project):
    write_evaluation(project, "bbb", 0.75)
    assert "it is the champion now" in promote.promote_if_better()
    champion = tracking.champion(project)
    assert champion is not None and champion.policy == "bbb"
    client = tracking.mlflow_client(project)
    tags = client.get_model_version(tracking.MLFLOW_NAME, str(champion.number)).tags
    assert tags["md5:models/policy"] == "bbb" and len(tags["dvc.lock"]) == 64 and tags["git.commit"] == "not in git"
    assert "+50.0 points" in tags["videossr.crowned"]
    lineage = tracking.load_artifact(project, champion, "lineage.json")
    assert lineage is not None and json.loads(lineage.read_text())["data"]["data/samples/train.parquet"] == "5a3"
    assert "is the champion already" in promote.promote_if_better()


def test_a_model_whose_gain_may_be_chance_does_not_become_champion(project):
    write_evaluation(project, "ccc", 0.8)
    assert "is not significantly better" in promote.promote_if_better()
    champion = tracking.champion(project)
    assert champion is not None and champion.policy == "bbb"


def test_the_champion_loads_in_a_new_process_and_answers_questions_about_videos(project, tmp_path):
    """The process has the package alone, as on a server: the project's models/ folder is deleted first."""
    videos = [write_video(tmp_path / f"clip {name}.mp4") for name in ("a", "b")]
    questions = pd.DataFrame({"question": ["When?", "Clip 1: <video> Clip 2: <video>"], "videos": [[], []]})
    questions["videos"] = [[str(videos[0])], [str(video) for video in videos]]
    shutil.rmtree("models")
    script = (
        "import sys, pandas as pd; from pathlib import Path; from videossr.tracking import load_champion;"
        "print(load_champion(Path(sys.argv[1])).predict(pd.read_json(sys.argv[2]))['answer'].to_json())"
    )
    questions.to_json(tmp_path / "questions.json")
    command = [sys.executable, "-c", script, str(project), str(tmp_path / "questions.json")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout.splitlines()[-1])
    assert len(answers) == 2 and all(isinstance(answer, str) for answer in answers.values())
