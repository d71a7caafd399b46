"""Measuring a policy: the evaluation runner, VIUBench with intervals over videos, and baselines without video."""
