"""Measuring a policy: the runner that puts questions, VIUBench and its intervals, and answers that need no video."""
