"""One module for each stage, `pipeline` over all of them, and `promote`: `python -m flows.<name>` from the root."""

import sys

try:
    from videossr.workspace import configure_tools, project_root
except ModuleNotFoundError as error:
    if error.name != "videossr":
        raise
    sys.exit(f"VideoSSR is not installed for {sys.executable}: activate its environment first, `. .venv/bin/activate`")

configure_tools(project_root())  # before the tools are imported: they read their settings then
