"""Stage list: what the source holds by names, sizes and times; it runs each time, ingest where that has changed."""

from pathlib import Path

from flows.runtime import params_of, run_stage
from videossr.ingest.params import IngestParams
from videossr.ingest.snapshot import write_listing

MADE_VIDEOS = Path("data/made_videos")


def main() -> None:
    params = params_of("ingest", IngestParams)
    write_listing(Path("data/source.json"), params.source, MADE_VIDEOS)


if __name__ == "__main__":
    run_stage(main, "list")
