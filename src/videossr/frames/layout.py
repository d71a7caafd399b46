"""What lies where in a frame store, and in the shards that it grows from."""

import tarfile
from collections.abc import Iterable

import pyarrow as pa

BLOCK = tarfile.BLOCKSIZE
TAR_END = bytes(2 * BLOCK)
VIDEOS_PER_SHARD = 64  # also what a kill may cost: a shard that is not whole is written anew
INDEX_NAME = "index.parquet"
INDEX_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("sizes", pa.list_(pa.int32())),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("times", pa.list_(pa.float64())),
    ]
)
# Of a shard: what the index will say of its videos, and who read them.
ROWS_SCHEMA = pa.schema(
    [*INDEX_SCHEMA, ("reader", pa.string()), ("why", pa.string()), ("wrong", pa.list_(pa.string()))]
)


def shard_name(shard: int) -> str:
    return f"shard-{shard:05d}.tar"


def rows_name(shard: int) -> str:
    return f"shard-{shard:05d}.rows.parquet"


def skipped_name(shard: int) -> str:
    return f"shard-{shard:05d}.skipped.parquet"


def members(video_id: str, suffix: str, files: Iterable[bytes]) -> bytes:
    """The frames of a video as members of a tar archive: each behind its header, filled up to whole blocks."""
    return b"".join(_member(f"{video_id}.{number:03d}.{suffix}", data) for number, data in enumerate(files))


def strides(sizes: Iterable[int]) -> list[int]:
    """What each member takes, header and filling included, of its size."""
    return [BLOCK + -(-size // BLOCK) * BLOCK for size in sizes]


def _member(name: str, data: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)
