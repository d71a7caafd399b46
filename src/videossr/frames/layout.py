"""The files of a frame store and of its shards: names, parquet schemas and the tar format."""

import tarfile
from collections.abc import Iterable

import pyarrow as pa

BLOCK = tarfile.BLOCKSIZE
TAR_END = bytes(2 * BLOCK)
# Also the largest number of videos that are decoded again after a kill: an unfinished shard is written from scratch.
VIDEOS_PER_SHARD = 64
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
# The rows of one shard: the index rows of its videos, and of each the split, the `ReaderChoice`, how many frames are
# damaged, and how many stored ones replace damaged ones.
ROWS_SCHEMA = pa.schema(
    [
        *INDEX_SCHEMA,
        ("split", pa.string()),
        ("reader", pa.string()),
        ("why", pa.string()),
        ("wrong", pa.list_(pa.string())),
        ("damaged", pa.int64()),
        ("replaced", pa.int32()),
    ]
)


def shard_name(shard: int) -> str:
    return f"shard-{shard:05d}.tar"


def rows_name(shard: int) -> str:
    return f"shard-{shard:05d}.rows.parquet"


def rejected_name(shard: int) -> str:
    return f"shard-{shard:05d}.rejected.parquet"


def to_tar_members(video_id: str, suffix: str, files: Iterable[bytes]) -> bytes:
    """Return the encoded frames of a video as consecutive tar members: header, data, padding to a whole block."""
    return b"".join(_to_tar_member(f"{video_id}.{number:03d}.{suffix}", data) for number, data in enumerate(files))


def member_lengths(sizes: Iterable[int]) -> list[int]:
    """Return the bytes that files of these sizes occupy as tar members, header and padding included."""
    return [BLOCK + -(-size // BLOCK) * BLOCK for size in sizes]


def _to_tar_member(name: str, data: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)
