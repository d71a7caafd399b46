"""Evaluation of a policy: VIUBench with intervals over videos, the blind baselines, and the sixteen public benchmarks.

`BENCHMARKS` has the entries of all 17 by key; `load` reads the published files of one.
"""

from videossr.evaluation.benchmarks import BENCHMARKS, load

__all__ = ["BENCHMARKS", "load"]
