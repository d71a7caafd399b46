"""What 30 thousand, a million and a hundred million videos need: storage, CPU-hours, GPU-hours, money.

    python -m bench.scale
    python -m bench.scale --gpu-hour 1.8 --videos 5000000

Arithmetic from the measured figures in `docs/measured/`, for videos like that of `bench.data_path` (60 s of 720p). One
sample a video, each seen once in training, as in the paper. Prices, the bit rate of the sources and the number of
processors are assumptions: options. Writes `docs/measured/scale.json`, and the tables of `docs/scale.md`.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from videossr.frames.sampling import FramesParams
from videossr.storage.atomic import write_json, write_text

MEASURED = Path("docs/measured")
OUT = MEASURED / "scale.json"
PAGE = Path("docs/scale.md")
VIDEOS = (30_000, 1_000_000, 100_000_000)

_BEGIN, _END = "<!-- {}: written by python -m {} -->", "<!-- end of {} -->"
_HOUR, _DAY = 3600, 24
_GIGA, _TERA = 1e9, 1e12


@dataclass(frozen=True)
class Assumptions:
    """What is not measured: the sources, the prices, and the processors that work at the same time."""

    megabits_per_second: float = 2.5
    cpu_hour: float = 0.04
    gpu_hour: float = 2.50
    terabyte_month: float = 23.0
    cpus: int = 64
    gpus: int = 8

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise SystemExit(f"{name} must be above 0, got {value}")


_MEANING = {
    "megabits_per_second": "bit rate of a source video, Mbit/s",
    "cpu_hour": "price of a CPU-hour",
    "gpu_hour": "price of an H100-hour",
    "terabyte_month": "price of a terabyte in object storage for a month",
    "cpus": "CPUs that work at the same time",
    "gpus": "GPUs that work at the same time",
}


@dataclass(frozen=True)
class Figure:
    """A measured number, its unit, and the file and row that it is from."""

    value: float
    unit: str
    source: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, nargs="+", default=VIDEOS, metavar="N")
    for field in fields(Assumptions):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=type(field.default), default=field.default, help=_MEANING[field.name])
    given = vars(parser.parse_args())
    result = compute(given.pop("videos"), Assumptions(**given))
    write_json(OUT, result, indent=2)
    write_text(PAGE, with_tables(PAGE.read_text(encoding="utf-8"), result))
    print(f"written to {OUT} and {PAGE}")


def compute(videos: Sequence[int], assumptions: Assumptions) -> dict[str, Any]:
    """The contents of scale.json: assumptions, the measured figures, one row for each number of videos."""
    figures = measured_figures()
    rows = [_row(count, {name: each.value for name, each in figures.items()}, assumptions) for count in videos]
    return {
        "assumptions": asdict(assumptions),
        "measured": {name: asdict(each) for name, each in figures.items()},
        "rows": rows,
    }


def measured_figures() -> dict[str, Figure]:
    """The measured figures by name."""
    paths, gpu = _rows("data_path.json"), _rows("grpo_step-h100.json")
    memory = {row["stage"]: row for row in json.loads((MEASURED / "memory.json").read_text()) if _GROWTH in row}
    share = FramesParams().verify_fraction
    read_once, read_twice = paths["ingest_60s"]["ours"], paths["ingest_60s_checked"]["ours"]
    return {
        "ingest": Figure(
            (1 - share) * read_once + share * read_twice,
            "CPU-seconds a video",
            f"data_path.json, ingest_60s, and ingest_60s_checked for {share:.0%}",
        ),
        "stored": Figure(paths["bytes_per_video"]["ours"], "bytes a video", "data_path.json, bytes_per_video"),
        "draw": Figure(paths["sample_time"]["ours"], "CPU-seconds a sample", "data_path.json, sample_time"),
        "sample": Figure(paths["sample_bytes"]["ours"], "bytes a sample", "data_path.json, sample_bytes"),
        "render": Figure(paths["load_render"]["ours"], "CPU-seconds a sample", "data_path.json, load_render"),
        "groups_2b": Figure(
            gpu["gpu_qwen3_vl_2b_groups"]["ours"], "groups a second", "grpo_step-h100.json, gpu_qwen3_vl_2b_groups"
        ),
        "groups_8b": Figure(
            gpu["gpu_qwen3_vl_8b_groups"]["ours"], "groups a second", "grpo_step-h100.json, gpu_qwen3_vl_8b_groups"
        ),
        "record": Figure(
            memory["ingest"][_GROWTH], "MB a thousand videos, parent of ingest", f"memory.json, {_GROWTH}"
        ),
    }


_GROWTH = "parent_mb_per_1000_videos"


def _rows(name: str) -> dict[str, Mapping[str, Any]]:
    return {row["name"]: row for row in json.loads((MEASURED / name).read_text(encoding="utf-8"))}


def _row(videos: int, figures: Mapping[str, float], given: Assumptions) -> dict[str, float]:
    """Amounts for one number of videos; `_days` are those of `cpus` or `gpus` at the same time."""
    source = videos * 60 * given.megabits_per_second * 1e6 / 8 / _TERA
    store = videos * figures["stored"] / _TERA
    data_hours = videos * (figures["ingest"] + figures["draw"]) / _HOUR
    render_hours = videos * figures["render"] / _HOUR
    gpu_hours = {size: videos / figures[f"groups_{size}"] / _HOUR for size in ("2b", "8b")}
    return {
        "videos": videos,
        "source_terabytes": source,
        "store_terabytes": store,
        "samples_gigabytes": videos * figures["sample"] / _GIGA,
        "ingest_parent_gigabytes": videos / 1000 * figures["record"] / 1000,
        "data_cpu_hours": data_hours,
        "data_days": data_hours / given.cpus / _DAY,
        "render_cpu_hours": render_hours,
        "gpu_hours_2b": gpu_hours["2b"],
        "gpu_hours_8b": gpu_hours["8b"],
        "gpu_days_8b": gpu_hours["8b"] / given.gpus / _DAY,
        "cpu_money": (data_hours + render_hours) * given.cpu_hour,
        "gpu_money_8b": gpu_hours["8b"] * given.gpu_hour,
        "storage_money_month": (source + store) * given.terabyte_month,
    }


_LABELS = {
    "source_terabytes": "source videos, TB",
    "store_terabytes": "frame store, TB",
    "samples_gigabytes": "samples before compression, GB",
    "ingest_parent_gigabytes": "memory of the process that ingests, for its records, GB",
    "data_cpu_hours": "ingest, frames and drawing samples, CPU-hours",
    "data_days": "... days on all CPUs",
    "render_cpu_hours": "loading and rendering each sample once, CPU-hours",
    "gpu_hours_2b": "GRPO over every sample once, 2B, GPU-hours",
    "gpu_hours_8b": "... 8B, GPU-hours",
    "gpu_days_8b": "... 8B, days on all GPUs",
    "cpu_money": "money for CPUs",
    "gpu_money_8b": "money for GPUs, 8B",
    "storage_money_month": "money for storage a month",
}


def with_tables(page: str, result: Mapping[str, Any]) -> str:
    """The page with its three tables replaced by those of `result`."""
    header = "| | " + " | ".join(f"{row['videos']:,} videos" for row in result["rows"]) + " |"
    lines = [header, "|---" * (len(result["rows"]) + 1) + "|"]
    for name, label in _LABELS.items():
        lines.append(f"| {label} | " + " | ".join(_number(row[name]) for row in result["rows"]) + " |")
    assumed = ["| assumption | value |", "|---|---|"]
    assumed += [f"| {_MEANING[name]} | {value:g} |" for name, value in result["assumptions"].items()]
    measured = ["| measured | unit | from |", "|---|---|---|"]
    measured += [
        f"| {each['value']:.4g} | {each['unit']} | `{each['source']}` |" for each in result["measured"].values()
    ]
    for name, table in (("amounts", lines), ("assumptions", assumed), ("measured", measured)):
        page = with_table(page, name, "\n".join(table), "bench.scale", PAGE)
    return page


def with_table(page: str, name: str, table: str, module: str, path: Path) -> str:
    """The text of the page at `path` with one table replaced, which stands between two lines that `module` knows."""
    begin, end = _BEGIN.format(name, module), _END.format(name)
    replaced, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{table}\n{end}", page, flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{path} must hold the lines '{begin}' and '{end}' once: put them back")
    return replaced


def _number(value: float) -> str:
    """Three significant digits: 0.0125, 3.9, 1,290, 129,000."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{float(f'{value:.3g}'):,.0f}"


if __name__ == "__main__":
    main()
