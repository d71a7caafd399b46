"""Real containers, damaged at random: the pool survives, and every input is in the store or in the quarantine, once.

`pytest -m fuzz` tries 300 mutations, `make fuzz` 5,000 (`VIDEOSSR_MUTATIONS`).
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from test_decode import KINDS
from videos import write_video

from videossr.decode import REASONS
from videossr.frames import FramesParams, FrameStore, write_store
from videossr.ingest import IngestParams, ingest
from videossr.parallel import Limits

LIMITS = Limits(seconds=30, megabytes=512)
BATCH = 100


def flip_bits(data: bytes, rng: np.random.Generator, _others: Sequence[bytes]) -> bytes:
    damaged = bytearray(data)
    # Half of the damage goes where the structure is: the first and the last thousand bytes.
    near = np.concatenate([np.arange(min(1000, len(data))), np.arange(max(0, len(data) - 1000), len(data))])
    for _ in range(int(rng.integers(1, 60))):
        place = int(rng.choice(near)) if rng.random() < 0.5 else int(rng.integers(len(data)))
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def truncate(data: bytes, rng: np.random.Generator, _others: Sequence[bytes]) -> bytes:
    return data[: int(rng.integers(1, len(data)))]


def splice(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """A piece of another container in the place of a piece of this one, of any length."""
    other = others[int(rng.integers(len(others)))]
    start, begin = int(rng.integers(len(data))), int(rng.integers(len(other)))
    length, taken = (int(rng.integers(1, 4000)) for _ in range(2))
    return data[:start] + other[begin : begin + taken] + data[start + length :]


def splice_atoms(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Top-level atoms of two MP4 files, mixed: left out, doubled, exchanged."""
    mine, theirs = atoms(data), atoms(others[int(rng.integers(len(others)))])
    pool = [*mine, *theirs]
    picked = [atom if rng.random() < 0.7 else pool[int(rng.integers(len(pool)))] for atom in mine]
    return b"".join(atom for atom in picked for _ in range(int(rng.choice([0, 1, 1, 1, 1, 2]))))


def atoms(data: bytes) -> list[bytes]:
    """The top-level atoms of an MP4 file; whatever is none stays in one piece."""
    found, place = [], 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        size = size if 8 <= size <= len(data) - place else len(data) - place
        found.append(data[place : place + size])
        place += size
    return found or [data]


MUTATIONS = (flip_bits, truncate, splice, splice_atoms)


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("containers")
    return {name: write_video(folder / name, **how).read_bytes() for name, how in KINDS.items()}


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_every_damaged_container_ends_in_the_store_or_in_the_quarantine(
    containers: dict[str, bytes], tmp_path: Path
) -> None:
    count = int(os.environ.get("VIDEOSSR_MUTATIONS", "300"))
    names, files = list(containers), list(containers.values())
    for first in range(0, count, BATCH):
        source = tmp_path / "source"
        source.mkdir()
        for number in range(first, min(first + BATCH, count)):
            rng, name = np.random.default_rng(number), names[number % len(names)]
            mutate = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
            (source / f"{number}-{mutate.__name__}-{name}").write_bytes(mutate(containers[name], rng, files))
        assert_all_accounted_for(source, tmp_path)
        for path in (*source.iterdir(), source):
            path.unlink() if path.is_file() else path.rmdir()


def assert_all_accounted_for(source: Path, tmp_path: Path) -> None:
    inputs = sorted(str(path) for path in source.iterdir())
    inventory = ingest(IngestParams(str(source), limits=LIMITS), tmp_path / "made", workers=1, min_frames=12)
    assert sorted([v.path for v in inventory.videos] + [item.path for item in inventory.rejected]) == inputs
    params = FramesParams(num_frames=12, max_pixels=64 * 96, min_pixels=1024, limits=LIMITS, verify_fraction=0.2)
    quarantine = [*inventory.rejected, *write_store(inventory.videos, tmp_path / "frames", params, workers=1)]
    path_of = {video.video_id: video.path for video in inventory.videos}
    stored = [path_of[video_id] for video_id in FrameStore(tmp_path / "frames")]
    assert sorted([*stored, *(item.path for item in quarantine)]) == inputs
    assert {item.reason for item in quarantine} <= set(REASONS)
    # An exception that no one foresaw is quarantined too, but it is ours to foresee.
    assert [item for item in quarantine if "Error:" in item.detail] == []
    assert all(clip.frames.shape == (12, 64, 96, 3) for clip in FrameStore(tmp_path / "frames").values())
