"""The table of benchmarks: complete, strict, and true to the paper's figures."""

import subprocess
import sys
import tomllib
from importlib import resources

import pytest

from videossr.errors import ConfigError
from videossr.evaluation import BENCHMARKS
from videossr.evaluation.benchmarks.checks import RULES
from videossr.evaluation.benchmarks.entries import parse_table
from videossr.evaluation.viubench import paper_table

TEXT = resources.files("videossr.evaluation.benchmarks").joinpath("benchmarks.toml").read_text(encoding="utf-8")
KEYS = [
    "viubench",
    "mvbench",
    "tempcompass",
    "aotbench",
    "vinoground",
    "videomme",
    "lvbench",
    "longvideobench",
    "cgbench",
]
KEYS += ["qvhighlights", "activitynet", "charadessta", "tacos", "videommmu", "videott", "vcrbench", "cvbench"]


def test_the_table_has_viubench_and_the_sixteen_in_the_order_of_the_paper():
    assert list(BENCHMARKS) == KEYS
    groups = [group for group in ("general", "long", "grounding", "reasoning") for _ in range(4)]
    assert [entry.paper_group for entry in BENCHMARKS.values()] == ["viubench", *groups]


@pytest.mark.parametrize(
    ("key", "count"),
    [
        ("viubench", 2700),
        ("mvbench", 4000),
        ("tempcompass", 5536),
        ("aotbench", None),
        ("vinoground", 2000),
        ("videomme", 2700),
        ("lvbench", 1549),
        ("longvideobench", 1337),
        ("cgbench", 3000),
        ("qvhighlights", 1550),
        ("activitynet", 17031),
        ("charadessta", 3720),
        ("tacos", 4001),
        ("videommmu", 880),
        ("videott", 1000),
        ("vcrbench", 365),
        ("cvbench", 1000),
    ],
)
def test_the_expected_number_of_questions_is_the_published_one(key: str, count: int | None):
    assert BENCHMARKS[key].count == count


@pytest.mark.parametrize("key", KEYS)
def test_every_entry_has_the_papers_figures_of_its_metric(key: str):
    published = BENCHMARKS[key].published
    frames = ["base_48", "videossr_48"] if key == "viubench" else ["base_32", "base_48", "base_64", "videossr_32"]
    assert list(BENCHMARKS[key].published) == frames
    assert all(0 < row[BENCHMARKS[key].metric] < 100 for row in published.values())


def test_published_figures_are_those_of_the_papers_tables():
    assert BENCHMARKS["viubench"].published["base_48"] == {"score": paper_table()["rows"]["Qwen3-VL-8B"]["overall"]}
    assert BENCHMARKS["viubench"].published["videossr_48"] == {"score": paper_table()["rows"]["VideoSSR-8B"]["overall"]}
    assert BENCHMARKS["qvhighlights"].published["base_64"] == {
        "mIoU": 48.6,
        "R1@0.3": 64.5,
        "R1@0.5": 48.6,
        "R1@0.7": 33.9,
    }
    assert BENCHMARKS["vinoground"].published["videossr_32"] == {"text": 55.6}
    assert BENCHMARKS["vcrbench"].published["base_32"] == {"exact": 7.4, "step": 25.9}
    assert BENCHMARKS["mvbench"].published["videossr_32"] == {"accuracy": 68.6}


@pytest.mark.parametrize("key", KEYS)
def test_every_known_fault_is_of_a_rule_and_lists_ids_or_a_count(key: str):
    for fault in BENCHMARKS[key].known_faults:
        assert fault.rule in RULES
        assert bool(fault.ids) != bool(fault.count)


def test_an_unknown_key_is_an_error_that_names_it():
    with pytest.raises(ConfigError, match="cvbench has no parameter 'licenze' .did you mean 'licence'"):
        parse_table(TEXT.replace("[cvbench]\n", '[cvbench]\nlicenze = "MIT"\n'))


def test_a_missing_key_is_an_error_that_names_it():
    with pytest.raises(ConfigError, match="tacos lacks 'source'"):
        parse_table("\n".join(line for line in TEXT.splitlines() if "2D-TAN/data/TACoS" not in line))


def test_an_unknown_reader_is_an_error_that_lists_the_readers():
    with pytest.raises(ConfigError, match="reader must be one of records, keyed"):
        parse_table(TEXT.replace('reader = "charades"', 'reader = "text"'))


def test_a_benchmark_needs_the_prompts_of_both_protocols():
    section = tomllib.loads(TEXT)["cvbench"]
    assert list(section["prompts"]) == ["videossr", "official"]
    with pytest.raises(ConfigError, match="prompts must be those of videossr, official, got paper, official"):
        parse_table(TEXT.replace("[cvbench.prompts.videossr]", "[cvbench.prompts.paper]"))


def test_free_form_orders_have_room_for_their_reply():
    assert all(prompts.reply_tokens >= 512 for prompts in BENCHMARKS["vcrbench"].prompts.values())


def test_importing_the_benchmarks_imports_no_model_and_no_tables():
    heavy = ("torch", "trl", "transformers", "pyarrow", "pandas", "scipy")
    program = f"import sys, videossr.evaluation; sys.exit(' '.join(n for n in {heavy} if n in sys.modules) or 0)"
    subprocess.run([sys.executable, "-c", program], check=True)
