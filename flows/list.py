"""Stage list: a snapshot of the source (names, sizes, times). It runs each time; ingest runs if it has changed."""

from pathlib import Path

from flows.runtime import params_of, run_stage
from videossr.ingest.params import IngestParams
from videossr.ingest.snapshot import take_snapshot, write_snapshot

MADE_VIDEOS = Path("data/made_videos")


def main() -> None:
    params = params_of("ingest", IngestParams)
    write_snapshot(Path("data/source.json"), take_snapshot(params.source, MADE_VIDEOS))


if __name__ == "__main__":
    run_stage(main, "list")
