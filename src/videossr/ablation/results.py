"""Read what the runs of an ablation left, and compare them: over seeds, paired by question, clustered by video."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from videossr.ablation.variants import WHOLE, Ablation
from videossr.errors import StoreError
from videossr.evaluation import viubench
from videossr.evaluation.runner import EvaluateParams, read_scored_replies
from videossr.evaluation.viubench import MEANS, TASKS, paper_table
from videossr.records import ScoredReply

REPLIES = ("before", "after")
# Which row of the paper's VIUBench table a row of ours stands beside: the model before training, and after it.
PUBLISHED = {"start": "Qwen3-VL-8B", WHOLE: "VideoSSR-8B"}


@dataclass(frozen=True)
class VariantReplies:
    """The replies of the policy before and after the training of one variant, with each seed."""

    before: Sequence[ScoredReply]
    after: Sequence[ScoredReply]


def read_replies(folders: Mapping[int, Path]) -> VariantReplies:
    """The replies of a variant from the folders of its runs, by seed; a question of each seed is one of its own.

    Raises StoreError where a run has no replies.
    """
    by_name: dict[str, list[ScoredReply]] = {name: [] for name in REPLIES}
    for seed, folder in sorted(folders.items()):
        for name, pooled in by_name.items():
            path = folder / f"{name}.jsonl"
            replies = read_scored_replies(path) if path.exists() else []
            if not replies:
                raise StoreError(f"{path} must hold the replies of a run, it has none: remove {folder} and run again")
            pooled += [replace(item, sample_id=f"{seed}/{item.sample_id}") for item in replies]
    return VariantReplies(**by_name)


def compare_variants(
    ablation: Ablation, replies: Mapping[str, VariantReplies], seeds: Sequence[int], params: EvaluateParams
) -> dict[str, Any]:
    """The content of `<ablation>.json`: the scores of the start and of each variant, its gain, and how far it is from
    the whole mixture, each with its 95 % interval.

    Raises StoreError where two variants answered different questions.
    """
    bootstrap = {"bootstrap_samples": params.bootstrap_samples, "seed": params.seed}
    whole = replies[WHOLE]
    rows = []
    for variant in ablation.variants:
        own = replies[variant.name]
        if {item.sample_id for item in own.after} != {item.sample_id for item in whole.after}:
            raise StoreError(
                f"all variants must answer the same questions, '{variant.name}' answered others than '{WHOLE}': "
                "remove work/ablations and run again"
            )
        rows.append(
            {
                **asdict(variant),
                "scores": _scores(viubench.summarise(own.after, **bootstrap)),
                "gain": viubench.gain(own.before, own.after, **bootstrap),
                "difference": None if own is whole else viubench.gain(whole.after, own.after, **bootstrap),
            }
        )
    start = viubench.summarise(whole.before, **bootstrap)
    return {
        "ablation": ablation.name,
        "title": ablation.title,
        "quick": ablation.quick,
        "seeds": list(seeds),
        "steps": ablation.steps,
        "questions": start["n"] // len(seeds),
        "videos": start["videos"],
        "start": _scores(start),
        "variants": rows,
        "published": {name: _published(row) for name, row in PUBLISHED.items()},
        "left_out": dict(ablation.left_out),
    }


def _scores(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of VIUBench, the means of the three tasks and of all columns, in percent, with some intervals."""
    return {name: row[name] for name in MEANS} | {"ci95": row["ci95"]["overall"], "unparsed": row["unparsed"]}


def _published(model: str) -> dict[str, Any]:
    row = paper_table()["rows"][model]
    return {"model": model, **{name: row[name] for name in (*TASKS, "overall")}}
