"""VIUBench and the sixteen public benchmarks of the paper's evaluation: entries, loading, prompts, replies, scores.

One table (`benchmarks.toml`) describes them all. `load` makes items of a published file, `render_prompt_text` asks them
in the words of a protocol, `score` turns replies into the number of the benchmark.
"""

from videossr.evaluation.benchmarks.entries import PROTOCOLS, Benchmark, benchmark_named, shipped_table
from videossr.evaluation.benchmarks.items import Fault, Item, Items, VideoRef
from videossr.evaluation.benchmarks.loading import load
from videossr.evaluation.benchmarks.local_copy import LocalCopy, copy_faults, examine_copy
from videossr.evaluation.benchmarks.prompts import render_prompt_text
from videossr.evaluation.benchmarks.replies import parse_reply
from videossr.evaluation.benchmarks.scoring import Column, Counts, ItemScore, Score, chance, item_scores, score
from videossr.evaluation.benchmarks.videos import FoundVideos, find_videos

__all__ = [
    "BENCHMARKS",
    "PROTOCOLS",
    "Benchmark",
    "Column",
    "Counts",
    "Fault",
    "FoundVideos",
    "Item",
    "ItemScore",
    "Items",
    "LocalCopy",
    "Score",
    "VideoRef",
    "benchmark_named",
    "chance",
    "copy_faults",
    "examine_copy",
    "find_videos",
    "item_scores",
    "load",
    "parse_reply",
    "render_prompt_text",
    "score",
]

BENCHMARKS = shipped_table()
