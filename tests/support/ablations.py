"""Replies of the variants of an ablation, as their runs leave them."""

from pathlib import Path

from tests.support.evaluated_project import bench_samples, replies
from videossr.ablation.results import REPLIES
from videossr.ablation.variants import Ablation, Variant, plan_ablation
from videossr.dataset.params import PretextParams
from videossr.evaluation.runner import write_scored_replies
from videossr.storage.atomic import write_json
from videossr.train.params import TrainParams


def planned(name: str = "figure5") -> Ablation:
    return plan_ablation(name, PretextParams(), TrainParams(), 96)


def share_right(variant: Variant) -> float:
    """The share of videos with right answers after training: of the mixture 0.75, of a task alone 0.5."""
    return 0.75 if variant.name.startswith("all") else 0.5


def write_replies(folder: Path, before: float, after: float, num_videos: int = 12) -> Path:
    """Write what a run leaves: replies that are right for these shares of the videos, and results."""
    samples = bench_samples(num_videos)
    for name, share in zip(REPLIES, (before, after), strict=True):
        write_scored_replies(folder / f"{name}.jsonl", replies(samples, share), {"policy": name})
    return folder


def write_start(folder: Path) -> None:
    write_json(folder / "start" / "policy.json", {"policy": "none"})
