"""Fingerprints: of the code and libraries that made a result, and of the bytes in a folder."""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def code_fingerprint(patterns: Iterable[str], libraries: Iterable[str]) -> str:
    """Hex SHA-256 of the modules of this package that match (`decode/*.py`), and of the versions of libraries."""
    digest = hashlib.sha256()
    for library in libraries:
        digest.update(f"{library} {version(library)}\n".encode())
    for pattern in patterns:
        for path in sorted(_PACKAGE.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """Hex SHA-256 over the names and bytes of every file below `folder`. It identifies a checkpoint."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
