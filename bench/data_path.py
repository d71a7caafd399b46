"""What the data path costs, side by side with the same work done the reference's way, in one run on one machine.

    python -m bench.data_path            minutes of footage, about half an hour
    python -m bench.data_path --quick    seconds of footage, a minute or two; ratios of the long rows are smaller

Writes `reports/bench/data_path.json`: a list of {name, ours, theirs, ratio, unit}. Every measurement runs in a process
of its own; processor seconds are user and system, memory is the process's peak. Footage is kept in `work/bench`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OUT = Path("reports/bench/data_path.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds of footage in place of minutes")
    quick = parser.parse_args().quick
    from bench.comparisons import COMPARISONS, FULL, QUICK  # here: measured processes import this module too, no more

    sizes = QUICK if quick else FULL
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for compare in COMPARISONS:
            print(f"{compare.__name__} ...", file=sys.stderr)
            rows += compare(Path(folder), sizes)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    unfinished = OUT.with_name(OUT.name + ".partial")
    unfinished.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    unfinished.replace(OUT)
    show(rows)


def show(rows: Sequence[Any]) -> None:
    table = Table("", "ours", "theirs", "ratio", "unit", title="The data path, against the reference's way")
    for row in rows:
        table.add_row(row.name, f"{row.ours:.4g}", f"{row.theirs:.4g}", f"{row.ratio:.3g}x", row.unit)
    Console().print(table)


if __name__ == "__main__":
    main()
