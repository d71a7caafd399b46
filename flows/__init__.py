"""What runs: one module a stage, `pipeline` over all of them, and `promote`. `python -m flows.<name>` from the root."""

from videossr.workspace import root, settle

settle(root())  # first of all: the tools read their settings while they are imported
