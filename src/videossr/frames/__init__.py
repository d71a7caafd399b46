"""The frame store: evenly spaced frames of every video at model size, in tar shards with an index. It is read-only.

On disk: `index.parquet` (one row per video) and `shard-00000.tar` ... (JPEG of quality 95 without chroma subsampling,
because the frames are small and subsampling costs 3 dB). The bytes depend on the videos and `FramesParams` alone, never
on the number of workers.

This file imports nothing, so that a process that decodes videos can import `encoding` without pyarrow.
"""
