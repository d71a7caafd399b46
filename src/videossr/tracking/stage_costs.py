"""What the last run of each stage took: seconds, processor seconds, memory. Kept in work/, outside the graph of DVC."""

import json
import resource
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from videossr.storage.atomic import write_json

_FOLDER = Path("work/pipeline/costs")


@dataclass(frozen=True)
class StageCost:
    """What one run of a stage took.

    `seconds` are those of its process on the clock; `cpu_seconds` also count the processes that it started.
    `peak_megabytes` is the largest resident memory of one of these processes. `ended` is a time in UTC, ISO 8601.
    """

    stage: str
    seconds: float
    cpu_seconds: float
    peak_megabytes: int
    ended: str


def write_stage_cost(project: Path, stage: str) -> StageCost:
    """Store what this process, which has run a stage, took until now."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cost = StageCost(
        stage,
        round(time.time() - psutil.Process().create_time(), 1),
        round(sum(usage.ru_utime + usage.ru_stime for usage in usages), 1),
        max(usage.ru_maxrss for usage in usages) // 1024,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_json(project / _FOLDER / f"{stage}.json", asdict(cost))
    return cost


def read_stage_costs(project: Path) -> list[StageCost]:
    """The costs of all stages that have run, in the order in which they ended."""
    costs = [StageCost(**json.loads(path.read_text(encoding="utf-8"))) for path in (project / _FOLDER).glob("*.json")]
    return sorted(costs, key=lambda cost: (cost.ended, cost.stage))
