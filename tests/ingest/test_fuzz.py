"""Real containers with random damage: no crash, and every file is in the store or in the quarantine, exactly once.

The suite tries 300 mutations. `make fuzz` tries 5,000 (`VIDEOSSR_MUTATIONS`) and writes the counts of the outcomes to
`reports/bench/fuzz.json`.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support import ROOT
from tests.support.ingesting import ingest_source
from tests.support.videos import KINDS, write_video
from videossr.decode import REASONS
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.ingest.params import IngestParams
from videossr.parallel import Limits

LIMITS = Limits(seconds=30, megabytes=512)
BATCH = 100
FIGURES = ROOT / "reports" / "bench" / "fuzz.json"


def flip_bits(data: bytes, rng: np.random.Generator, _others: Sequence[bytes]) -> bytes:
    damaged = bytearray(data)
    # Half of the damage goes to the first and the last thousand bytes, where the structure is.
    near = np.concatenate([np.arange(min(1000, len(data))), np.arange(max(0, len(data) - 1000), len(data))])
    for _ in range(int(rng.integers(1, 60))):
        offset = int(rng.choice(near)) if rng.random() < 0.5 else int(rng.integers(len(data)))
        damaged[offset] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def truncate(data: bytes, rng: np.random.Generator, _others: Sequence[bytes]) -> bytes:
    return data[: int(rng.integers(1, len(data)))]


def splice(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Replace a piece of this container by a piece of another one, of another length."""
    other = others[int(rng.integers(len(others)))]
    start, other_start = int(rng.integers(len(data))), int(rng.integers(len(other)))
    length, other_length = (int(rng.integers(1, 4000)) for _ in range(2))
    return data[:start] + other[other_start : other_start + other_length] + data[start + length :]


def splice_atoms(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Mix the top-level atoms of two MP4 files: drop, repeat or exchange them."""
    mine, theirs = atoms(data), atoms(others[int(rng.integers(len(others)))])
    pool = [*mine, *theirs]
    picked = [atom if rng.random() < 0.7 else pool[int(rng.integers(len(pool)))] for atom in mine]
    return b"".join(atom for atom in picked for _ in range(int(rng.choice([0, 1, 1, 1, 1, 2]))))


def atoms(data: bytes) -> list[bytes]:
    """The top-level atoms of an MP4 file; the rest after the last whole atom is one piece."""
    found, offset = [], 0
    while offset + 8 <= len(data):
        size = int.from_bytes(data[offset : offset + 4], "big")
        size = size if 8 <= size <= len(data) - offset else len(data) - offset
        found.append(data[offset : offset + size])
        offset += size
    return found or [data]


MUTATIONS = (flip_bits, truncate, splice, splice_atoms)


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("containers")
    return {name: write_video(folder / name, **how).read_bytes() for name, how in KINDS.items()}


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_every_damaged_container_is_in_the_store_or_in_the_quarantine(
    containers: dict[str, bytes], tmp_path: Path
) -> None:
    requested = os.environ.get("VIDEOSSR_MUTATIONS")
    count, start = int(requested or 300), time.monotonic()
    damage, outcomes = Counter[str](), Counter[str]()
    for first in range(0, count, BATCH):
        source = tmp_path / "source"
        source.mkdir()
        damage += write_damaged(range(first, min(first + BATCH, count)), containers, source)
        outcomes += count_outcomes(source, tmp_path)
        for path in (*source.iterdir(), source):
            path.unlink() if path.is_file() else path.rmdir()
    assert damage.total() == outcomes.total() == count
    if requested:
        write_figures(damage, outcomes, time.monotonic() - start)


def write_damaged(numbers: Sequence[int], containers: Mapping[str, bytes], source: Path) -> Counter[str]:
    """Write one damaged file for each number; returns how many by kind of damage."""
    names, files = list(containers), list(containers.values())
    kinds = Counter[str]()
    for number in numbers:
        rng, name = np.random.default_rng(number), names[number % len(names)]
        mutate = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        (source / f"{number}-{mutate.__name__}-{name}").write_bytes(mutate(containers[name], rng, files))
        kinds[mutate.__name__] += 1
    return kinds


def count_outcomes(source: Path, tmp_path: Path) -> Counter[str]:
    """Ingest and store the files, check that each has exactly one outcome, and count: stored, or a reason."""
    inputs = sorted(str(path) for path in source.iterdir())
    inventory = ingest_source(IngestParams(str(source), limits=LIMITS), tmp_path / "made", workers=1, min_frames=12)
    assert sorted([v.path for v in inventory.videos] + [item.path for item in inventory.rejected]) == inputs
    params = FramesParams(num_frames=12, max_pixels=64 * 96, min_pixels=1024, limits=LIMITS, verify_fraction=0.2)
    quarantine = [*inventory.rejected, *write_store(inventory.videos, tmp_path / "frames", params, workers=1)]
    path_of = {video.video_id: video.path for video in inventory.videos}
    stored = [path_of[video_id] for video_id in FrameStore(tmp_path / "frames")]
    assert sorted([*stored, *(item.path for item in quarantine)]) == inputs
    assert {item.reason for item in quarantine} <= set(REASONS)
    # An unexpected exception rejects its file too, but it is a bug.
    assert [item for item in quarantine if "Error:" in item.detail] == []
    for clip in FrameStore(tmp_path / "frames").values():
        num_frames, height, width, channels = clip.frames.shape
        # A flipped bit may leave a valid header of another size, which no decoder can know.
        assert (num_frames, channels, height % 32, width % 32) == (12, 3, 0, 0)
        assert 1024 <= height * width <= 64 * 96
    return Counter({"stored": len(stored)}) + Counter(item.reason for item in quarantine)


def write_figures(damage: Counter[str], outcomes: Counter[str], seconds: float) -> None:
    rejected = {reason: number for reason, number in outcomes.most_common() if reason != "stored"}
    figures = {
        "inputs": damage.total(),
        "damage": dict(sorted(damage.items())),
        "stored": outcomes["stored"],
        "refused": rejected,
        "losses": {reason: outcomes[reason] for reason in ("timeout", "out_of_memory", "crashed")},
        "seconds": round(seconds, 1),
    }
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    unfinished = FIGURES.with_name(FIGURES.name + ".partial")
    unfinished.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(FIGURES)
