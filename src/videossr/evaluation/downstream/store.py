"""The replies of one evaluation on disk: a file that only grows, keyed by the id of the item.

The file is JSON lines: `{"header": {...}}`, then `{"id", "reply", "times"}` for each answered item. Its name holds a
hash of the header: other frames, another prompt or another policy is another file. Failed attempts stand in a file
beside it, `{"id", "error"}`: they are no answers, and the next run tries them again. Several processes may append;
each looks first at what the others wrote, so that no item has two replies.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from videossr.errors import StoreError
from videossr.storage.atomic import atomic_file
from videossr.storage.jsonl import append_jsonl

logger = logging.getLogger(__name__)

Header = Mapping[str, Any]
VideoTimes = tuple[tuple[float, ...], ...]  # seconds of the frames shown, for each video


@dataclass(frozen=True)
class StoredReply:
    """The reply to one item, and the times in seconds of the frames that were shown, for each of its videos."""

    id: str
    reply: str
    times: VideoTimes = ()


class ReplyStore:
    """The replies that belong to one header, in the folder `folder`.

    `replies` and `errors`, by id, are those on disk when the store was opened, and all that were added or met since.
    Raises StoreError where the file of this header begins with another one.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.header = header
        self.path = folder / f"{header['benchmark']}-{header_key(header)}.jsonl"
        self.replies: dict[str, StoredReply] = {}
        self._read_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._write_lock = FileLock(f"{self.path}.lock")
        with self._write_lock:
            if not self.path.exists():
                with atomic_file(self.path) as temporary:
                    append_jsonl(temporary, [{"header": header}], sync=True)
            self._read_new()
        self._failures = _read_failures(self.path)

    @property
    def errors(self) -> dict[str, str]:
        """The last error of each item that has no reply."""
        return {item_id: error for item_id, error in self._failures.items() if item_id not in self.replies}

    @contextmanager
    def turn(self, share: str) -> Iterator[None]:
        """Let one process at a time evaluate a share of the items; another waits, and then finds them answered."""
        lock = FileLock(f"{self.path}.{share}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("another evaluation writes to %s: this one waits until it has ended", self.path)
            lock.acquire()
        try:
            with self._write_lock:
                self._read_new()
            yield
        finally:
            lock.release()

    def add(self, replies: Sequence[StoredReply], failures: Mapping[str, str]) -> None:
        """Append replies, except to items that have one, and failures; all are on the disk when it returns."""
        with self._write_lock:
            self._read_new()
            append_jsonl(self.path, [asdict(each) for each in replies if each.id not in self.replies], sync=True)
            self._read_new()
            new = [
                {"id": item_id, "error": error}
                for item_id, error in failures.items()
                if self._failures.get(item_id) != error
            ]
            if new:
                append_jsonl(errors_path(self.path), new, sync=True)
        self._failures.update(failures)

    def _read_new(self) -> None:
        """Read what was appended since the last time, by this process or another."""
        with self.path.open("rb") as file:
            file.seek(self._read_bytes)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        rows = _parse(whole)
        if self._read_bytes == 0 and next(rows, {}).get("header") != self.header:
            raise StoreError(f"{self.path} must begin with the header of its replies, it does not: remove the file")
        self._read_bytes += len(whole)
        for each in _stored(rows):
            self.replies.setdefault(each.id, each)


def header_key(header: Header) -> str:
    """16 hex digits of the SHA-256 of a header."""
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()[:16]


def errors_path(path: Path) -> Path:
    """The file of failed attempts beside a file of replies."""
    return path.with_suffix(".errors.jsonl")


def read_store(path: Path) -> tuple[Header, dict[str, StoredReply], dict[str, str]]:
    """Header, replies and errors of a file of replies. Raises StoreError where it is none."""
    rows = iter(_whole_rows(path))
    header = next(rows, {}).get("header")
    if not isinstance(header, dict):
        raise StoreError(f"{path} must be a file of replies that begins with a header: name one that evaluation wrote")
    replies: dict[str, StoredReply] = {}
    for each in _stored(rows):
        replies.setdefault(each.id, each)
    failures = {item_id: error for item_id, error in _read_failures(path).items() if item_id not in replies}
    return header, replies, failures


def _read_failures(path: Path) -> dict[str, str]:
    """The last error of each item whose attempt failed, by id, whether or not it was answered later."""
    rows = _whole_rows(errors_path(path))
    return {str(row["id"]): str(row["error"]) for row in rows if {"id", "error"} <= row.keys()}


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes() if path.exists() else b""
    return list(_parse(content[: content.rfind(b"\n") + 1]))


def _parse(content: bytes) -> Iterator[dict[str, Any]]:
    """The rows of complete lines; empty for a line that is no row: its item has no reply, and is asked again."""
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        yield row if isinstance(row, dict) else {}


def _stored(rows: Iterable[Mapping[str, Any]]) -> Iterator[StoredReply]:
    for row in rows:
        if {"id", "reply", "times"} <= row.keys():
            times = tuple(tuple(map(float, clip)) for clip in row["times"])
            yield StoredReply(str(row["id"]), str(row["reply"]), times)
