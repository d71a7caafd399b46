"""What the data path costs, side by side with the same work done the reference's way, in one run on one machine.

    python -m bench.data_path            minutes of footage: twenty minutes or so, more the first time
    python -m bench.data_path --quick    seconds of footage, a minute or two; ratios of the long rows are smaller
    python -m bench.data_path --skip workers samples      without some of: ingest, storage, samples, workers

Writes `reports/bench/data_path.json`: a list of {name, ours, theirs, ratio, unit}, a row in the place of an older one
of its name. Storage and samples are measured on what ingest leaves. Every figure is a median of several rounds in which
both sides take turns; processor seconds are user and system, memory is the peak of a process that does nothing else.
Footage is kept in `work/bench/footage`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

OUT = Path("reports/bench/data_path.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds of footage in place of minutes")
    parser.add_argument("--skip", nargs="*", default=[], metavar="NAME", help="comparisons to leave as they were")
    asked = parser.parse_args()
    # Here: measured processes import this module too, and no more.
    from bench.comparisons import COMPARISONS, FULL, QUICK
    from bench.rows import put, show

    sizes = QUICK if asked.quick else FULL
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for compare in COMPARISONS:
            if compare.__name__.removeprefix("compare_") in asked.skip:
                continue
            print(f"{compare.__name__} ...", file=sys.stderr)
            for row in compare(Path(folder), sizes):
                print(f"{row.name}: {row.ours:.4g} {row.theirs:.4g} {row.ratio:.3g}", file=sys.stderr)
                rows.append(row)
    put(OUT, rows)
    show(rows, "The data path, against the reference's way")


if __name__ == "__main__":
    main()
