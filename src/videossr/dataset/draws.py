"""Random generators whose seeds are hashes: the same in every process, in every order, on every machine."""

import hashlib
import json

import numpy as np


def rng_of(*parts: str | int) -> np.random.Generator:
    """A generator whose seed is a hash of `parts`."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
