"""What runs: one module a stage, `pipeline` over all of them, and `promote`. `python -m flows.<name>` from the root."""
