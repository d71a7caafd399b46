"""Files of JSON lines that grow during a run: one object per line, appended whole, read up to the first damaged line.

A kill or a full disk leaves a prefix of what was written, so at most the last line is damaged.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from videossr.storage.atomic import explain_full_disk

_CHUNK_BYTES = 65536


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines, up to the first damaged line; none where there is no file."""
    rows = []
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(row, dict):
            break
        rows.append(row)
    return rows


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]], *, sync: bool = False) -> None:
    """Append rows to a file, which is created if it is missing; a damaged last line is removed first.

    `sync` waits until the rows are on the disk. Raises StoreError where the disk is full.
    """
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(_whole_bytes(path))
            file.writelines(json.dumps(row).encode() + b"\n" for row in rows)
            if sync:
                file.flush()
                os.fsync(file.fileno())


def _whole_bytes(path: Path) -> int:
    """The number of bytes of a file that belong to complete lines."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _CHUNK_BYTES)
            file.seek(start)
            last = file.read(end - start).rfind(b"\n")
            if last >= 0:
                return start + last + 1
            end = start
    return 0
