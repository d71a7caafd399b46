"""The report: one page about a run: its videos and samples, its training, and the gain."""
