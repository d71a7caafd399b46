"""Know the prompts of the next rollout while the present one runs, so that they can be encoded ahead."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice

from torch.utils.data import Sampler

_REMEMBERED = 4  # batches whose followers are known: the data loader reads one ahead


class LookaheadSampler(Sampler[int]):
    """The order of `sampler`, and for each batch of this process the prompts of the next.

    `sampler` yields, for each rollout, `batch_size` indices into `sample_ids`: `group_size` times each prompt, the
    prompts of process 0 first. It may yield a batch several times in a row.
    """

    def __init__(
        self,
        sampler: Iterable[int],
        sample_ids: Sequence[str],
        batch_size: int,
        group_size: int,
        process: int,
        processes: int,
    ) -> None:
        self._sampler = sampler
        self._sample_ids = sample_ids
        self._batch_size = batch_size
        self._group_size = group_size
        self._process = process
        self._processes = processes
        self._next: dict[tuple[str, ...], tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        indices = iter(self._sampler)
        batches = iter(lambda: tuple(islice(indices, self._batch_size)), ())
        runs = ((batch, sum(1 for _ in copies)) for batch, copies in groupby(batches))
        run = next(runs, None)
        while run is not None:
            batch, copies = run
            run = next(runs, None)
            self._remember(batch, run[0] if run else ())
            for _ in range(copies):
                yield from batch

    def prompts_after(self, sample_ids: Sequence[str]) -> tuple[str, ...]:
        """The ids of this process's prompts after these; empty at the end of an epoch."""
        return self._next.get(tuple(sample_ids), ())

    def _remember(self, batch: Sequence[int], following: Sequence[int]) -> None:
        self._next[self._own_prompts(batch)] = self._own_prompts(following)
        while len(self._next) > _REMEMBERED:
            del self._next[next(iter(self._next))]

    def _own_prompts(self, batch: Sequence[int]) -> tuple[str, ...]:
        prompts = [self._sample_ids[index] for index in batch[:: self._group_size]]
        share = len(prompts) // self._processes
        return tuple(prompts[self._process * share : (self._process + 1) * share])
