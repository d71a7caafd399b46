"""Outlives the process that started a local Ray cluster by a moment: ends what is left of it and removes its files.

Ray ends its processes with the one that started them, but some only minutes after a kill, and leaves its files.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_TRIES = 20


def main(folder: Path) -> None:
    """Wait for the end of the parent, then kill every process that holds a file in `folder`, and remove it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spared = {os.getpid(), os.getppid()}
    sys.stdin.read()
    for _ in range(_TRIES):
        for pid in _holding(folder) - spared:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _holding(folder: Path) -> set[int]:
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return {pid for pid in pids if _holds(pid, folder)}


def _holds(pid: int, folder: Path) -> bool:
    try:
        return any(_leads_into(link, folder) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _leads_into(link: Path, folder: Path) -> bool:
    with suppress(OSError):
        return link.readlink().is_relative_to(folder)
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
