"""Which process this is, where `accelerate launch` has started several."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

_LONGEST_WAIT = timedelta(days=7)  # for the slowest process; a process that dies ends the others at once


@contextmanager
def shared_work() -> Iterator[tuple[int, int]]:
    """Yield (number, count) of this process, with its GPU selected; at the end wait for the other processes.

    (0, 1) where it was not started by `accelerate launch`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    import torch
    from accelerate import PartialState

    # Without a GPU it must be told so, or it takes each process for the only one.
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)
    yield state.process_index, state.num_processes
    state.wait_for_everyone()
    state.destroy_process_group()
