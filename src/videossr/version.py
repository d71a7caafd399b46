"""Which version of the code and of its libraries made a result: what is kept over a kill belongs to one alone."""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path


def version_of(patterns: Iterable[str], libraries: Iterable[str]) -> str:
    """SHA-256 of the modules of this package that match (`decode/*.py`), and of the versions of installed libraries."""
    digest = hashlib.sha256()
    for library in libraries:
        digest.update(f"{library} {version(library)}\n".encode())
    for pattern in patterns:
        for path in sorted(Path(__file__).parent.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()
