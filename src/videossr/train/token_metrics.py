"""Means over all tokens of a step by task, from sums and counts: how a step is cut changes nothing."""

from collections.abc import Callable, Sequence

import torch


class TokenMetrics:
    """Collects values of tokens over the passes of a step, by task; `tasks` names every task there can be."""

    def __init__(self, tasks: Sequence[str]) -> None:
        self._tasks = tasks
        self._sums: dict[str, torch.Tensor] = {}  # name -> float64 [tasks, 2]: sum and count

    def add(
        self,
        name: str,
        group_tasks: Sequence[str],
        values: torch.Tensor,
        mask: torch.Tensor,
        counted_groups: Sequence[bool] | None = None,
    ) -> None:
        """Add values [R, C] where `mask` [R, C] is not 0.

        `group_tasks` are the tasks of the groups, in order; every group has the same number of rows. `counted_groups`
        says which groups to add; None adds all. Every process must add the same names.
        """
        masked = torch.where(mask != 0, values.double(), 0.0)
        rows = torch.stack([masked.sum(dim=1), (mask != 0).double().sum(dim=1)], dim=1)
        groups = rows.view(len(group_tasks), -1, 2).sum(dim=1)
        if counted_groups is not None:
            groups = groups.where(torch.tensor(counted_groups, device=values.device)[:, None], 0.0)
        is_of_task = [[task == known for task in group_tasks] for known in self._tasks]
        sums = torch.tensor(is_of_task, dtype=torch.float64, device=values.device) @ groups
        self._sums[name] = self._sums[name] + sums if name in self._sums else sums

    def take(self, reduce_over_processes: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """`<name>/<task>` -> mean, for tasks that had tokens in any process; clears what was collected.

        `reduce_over_processes` sums a tensor over the processes.
        """
        means: dict[str, float] = {}
        for name, sums in self._sums.items():
            for task, (total, count) in zip(self._tasks, reduce_over_processes(sums).tolist(), strict=True):
                if count:
                    means[f"{name}/{task}"] = total / count
        self._sums = {}
        return means
