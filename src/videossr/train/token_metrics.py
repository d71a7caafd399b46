"""Means per task over all tokens of a step: sums and counts, so that no cut between passes or processes weighs."""

from collections.abc import Callable, Sequence

import torch


class TokenMetrics:
    """Collects values of tokens over the passes of a step, by task; `tasks` are all there can be."""

    def __init__(self, tasks: Sequence[str]) -> None:
        self._tasks = tasks
        self._sums: dict[str, torch.Tensor] = {}  # name -> float64 [tasks, 2]: sum and count

    def add(
        self,
        name: str,
        tasks: Sequence[str],
        values: torch.Tensor,
        mask: torch.Tensor,
        counted: Sequence[bool] | None = None,
    ) -> None:
        """Take values [R, C] where `mask` [R, C] is not 0.

        `tasks` are those of the groups, which have equally many rows and stand in order; `counted` says which of them
        to take where not all. Every process must add the same names.
        """
        kept = torch.where(mask != 0, values.double(), 0.0)
        rows = torch.stack([kept.sum(dim=1), (mask != 0).double().sum(dim=1)], dim=1)
        groups = rows.view(len(tasks), -1, 2).sum(dim=1)
        if counted is not None:
            groups = groups.where(torch.tensor(counted, device=values.device)[:, None], 0.0)
        places = [[task == known for task in tasks] for known in self._tasks]
        sums = torch.tensor(places, dtype=torch.float64, device=values.device) @ groups
        self._sums[name] = self._sums[name] + sums if name in self._sums else sums

    def take(self, over_processes: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """`<name>/<task>` -> mean, of tasks that had tokens in any process; what was collected is let go.

        `over_processes` adds a tensor up over the processes.
        """
        means: dict[str, float] = {}
        for name, sums in self._sums.items():
            for task, (total, count) in zip(self._tasks, over_processes(sums).tolist(), strict=True):
                if count:
                    means[f"{name}/{task}"] = total / count
        self._sums = {}
        return means
