"""What runs: one module a stage, `pipeline` over all of them, and `promote`. `python -m flows.<name>` from the root."""

import sys

try:
    from videossr.workspace import root, settle
except ModuleNotFoundError as error:
    if error.name != "videossr":
        raise
    sys.exit(f"VideoSSR is not installed for {sys.executable}: activate its environment first, `. .venv/bin/activate`")

settle(root())  # first of all: the tools read their settings while they are imported
