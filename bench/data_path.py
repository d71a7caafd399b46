"""The cost of the data path against the same work in the reference pipeline, in one run on one machine.

    python -m bench.data_path            minutes of video: about twenty minutes, more the first time
    python -m bench.data_path --quick    seconds of video: a minute or two; the ratios of the long videos are smaller
    python -m bench.data_path --skip workers samples      without some of: ingest, storage, samples, workers

Writes `reports/bench/data_path.json`: a list of {name, ours, theirs, ratio, unit}. A new row replaces an older row of
its name. Storage and samples are measured on the output of ingest. Every figure is a median of several rounds in which
both sides alternate. Processor seconds are user and system; memory is the peak of a process that does nothing else.
The videos are kept in `work/bench/videos`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

OUT = Path("reports/bench/data_path.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds of video instead of minutes")
    parser.add_argument("--skip", nargs="*", default=[], metavar="NAME", help="comparisons to skip; their rows stay")
    arguments = parser.parse_args()
    # Imported here: every measured process imports this module, and its imports count towards memory.
    from bench.comparisons import COMPARISONS, FULL, QUICK
    from bench.rows import print_rows, update_rows

    sizes = QUICK if arguments.quick else FULL
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for compare in COMPARISONS:
            if compare.__name__.removeprefix("compare_") in arguments.skip:
                continue
            print(f"{compare.__name__} ...", file=sys.stderr)
            for row in compare(Path(folder), sizes):
                print(f"{row.name}: {row.ours:.4g} {row.theirs:.4g} {row.ratio:.3g}", file=sys.stderr)
                rows.append(row)
    update_rows(OUT, rows)
    print_rows(rows, "The data path, against the reference pipeline")


if __name__ == "__main__":
    main()
