"""The frame store: evenly spaced frames of every video at model size, in tar shards with an index, read-only.

On disk: `index.parquet` (one row a video), `shard-00000.tar` ... (JPEG, quality 95, full chroma: the frames are small,
and half the chroma costs 3 dB). The bytes depend on the videos and `FramesParams` alone, never on the number of
workers.

The package itself imports nothing: a process that decodes videos loads `encoding` and no tables.
"""
