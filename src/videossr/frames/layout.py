"""What lies where in a frame store."""

import tarfile

import pyarrow as pa

BLOCK = tarfile.BLOCKSIZE
VIDEOS_PER_SHARD = 64  # also what a kill may cost: a shard that is not whole is written anew
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

READERS_SCHEMA = pa.schema(
    [("path", pa.string()), ("reader", pa.string()), ("why", pa.string()), ("wrong", pa.list_(pa.string()))]
)


def shard_name(shard: int) -> str:
    return f"shard-{shard:05d}.tar"


def rows_name(shard: int) -> str:
    return f"shard-{shard:05d}.rows.parquet"


def skipped_name(shard: int) -> str:
    return f"shard-{shard:05d}.skipped.parquet"


def readers_name(shard: int) -> str:
    return f"shard-{shard:05d}.readers.parquet"
