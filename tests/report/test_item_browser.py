"""The item browser: what it holds, and how it behaves in a real browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.browser import Page, open_browser
from tests.support.made_items import choice, items_of
from videossr.cli import app
from videossr.clip import Clip
from videossr.errors import ConfigError
from videossr.evaluation.benchmarks import find_videos, load
from videossr.evaluation.downstream import FrameBudget, answer_items
from videossr.evaluation.downstream.evaluations import Evaluation
from videossr.evaluation.made_benchmarks import make_benchmarks
from videossr.ingest.synthetic import SyntheticParams
from videossr.models.policy import ScriptedPolicy
from videossr.report.item_browser import BrowserItem, browser_items, first_to_draw, write_item_browser
from videossr.report.item_frames import make_strip

NASTY = "</script><script>window.harm = 1</script><img src=x onerror='window.harm = 2'>\u2028"
READY = "document.body && document.body.dataset.ready === 'yes'"
ROWS = "[...document.querySelectorAll('.row')]"


def evaluations(count: int) -> tuple[Evaluation, Evaluation]:
    """Two policies on `count` questions: the first is right on even ones, the second on all but every tenth."""
    items = items_of(
        "videomme",
        [
            choice(f"q{n:05}", "A", groups={"domain": ("art" if n % 4 else "sport",), "duration": ("short",)})
            for n in range(count)
        ],
    )
    first = {item.id: "A" if n % 2 == 0 else "The answer is B." for n, item in enumerate(items)}
    second = {item.id: "B" if n % 10 == 0 else "A" for n, item in enumerate(items)}
    second[items[1].id] = NASTY
    both = [("base <b>policy</b>", first), ("trained", second)]
    base, trained = (Evaluation(Path(name), {"policy": name}, items, replies, {}) for name, replies in both)
    return base, trained


def write(folder: Path, count: int, with_frames: bool = False) -> list[BrowserItem]:
    items = browser_items([evaluations(count)])
    strips = {}
    if with_frames:
        frames = np.tile(np.arange(0, 240, 30, dtype=np.uint8)[:, None, None, None], (1, 48, 64, 3))
        strips = {1: [make_strip(Clip(frames, np.arange(8) / 2), 4, 32)]}
    write_item_browser(folder, items, ("before", "after"), strips)
    return items


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.resize(1200, 800)
        yield opened


def shown_ids(page: Page) -> list[str]:
    return page.run(f"{ROWS}.map((row) => row.lastChild.textContent.split(' · ')[1])")


def count_text(page: Page) -> str:
    return page.run("document.getElementById('count').textContent")


def choose(page: Page, name: str, value: str) -> None:
    set_value(page, name, value, "change")


def search(page: Page, words: str) -> None:
    set_value(page, "search", words, "input")


def set_value(page: Page, name: str, value: str, event: str) -> None:
    page.run(
        f"(() => {{ const field = document.getElementById({name!r}); field.value = {json.dumps(value)}; "
        f"field.dispatchEvent(new Event({event!r})); }})()"
    )


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_page_holds_all_items_and_equal_inputs_give_equal_bytes(tmp_path: Path):
    for name in ("a", "b"):
        write(tmp_path / name, 2100, with_frames=True)
    files = files_below(tmp_path / "a")
    assert files == files_below(tmp_path / "b")
    names = {path.as_posix() for path in files}
    assert {"index.html", "data/meta.js", "data/rows-00001.js", "data/items-00010.js"} <= names
    assert sum(name.startswith("frames/") for name in names) == 1
    rows = json.loads(files[Path("data/rows-00001.js")].decode()[len("rows(") : -2])
    assert len(rows) == 100 and rows[0][1] == "q02000"


def test_no_text_of_a_file_stands_in_the_page_itself_and_nothing_is_remote(tmp_path: Path):
    write(tmp_path / "out", 20)
    html = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "q00001" not in html and "innerHTML" not in html
    assert not re.search(r"https?://|//cdn|@import|<link", html)
    data = b"".join(path.read_bytes() for path in (tmp_path / "out/data").iterdir())
    assert data.isascii()


def test_items_that_changed_are_drawn_first(tmp_path: Path):
    items = browser_items([evaluations(20)])
    # Item 0 became wrong, the odd ones right but 1, whose reply names no label, and which stays wrong.
    assert first_to_draw(items, 4) == [0, 3, 5, 7]


def test_a_folder_with_other_files_is_refused_and_a_browser_is_replaced(tmp_path: Path):
    write(tmp_path / "out", 3)
    write(tmp_path / "out", 5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="must be a new folder or hold an item browser, it holds other files"):
        write(tmp_path / "mine", 3)
    assert (tmp_path / "mine/thesis.txt").exists()


def test_a_reply_is_text_and_never_markup(page: Page, tmp_path: Path):
    write(tmp_path / "out", 20)
    page.open(tmp_path / "out/index.html", READY)
    search(page, "q00001")
    page.run(f"{ROWS}[0].click()")
    page.wait_for("document.querySelectorAll('.reply').length === 2")
    assert page.run("document.querySelectorAll('.reply pre')[1].textContent") == NASTY
    assert page.run("window.harm === undefined && document.querySelectorAll('#item script, #item img').length === 0")


def test_filters_search_and_keys(page: Page, tmp_path: Path):
    write(tmp_path / "out", 40, with_frames=True)
    page.requests.clear()
    page.open(tmp_path / "out/index.html", READY)
    assert count_text(page) == "40 of 40 items"
    choose(page, "verdict", "better")  # odd ones but q00001
    assert count_text(page) == "19 of 40 items"
    choose(page, "verdict", "worse")
    assert shown_ids(page) == ["q00000", "q00010", "q00020", "q00030"]
    choose(page, "verdict", "unanswered1")
    assert shown_ids(page) == ["q00001"]
    choose(page, "verdict", "")
    groups = page.run("[...document.getElementById('group').options].map((o) => [o.textContent, o.value])")
    assert [text for text, _ in groups] == ["all groups", "domain: art", "domain: sport", "duration: short"]
    choose(page, "group", dict(groups)["domain: sport"])
    assert count_text(page) == "10 of 40 items"
    choose(page, "group", "")
    search(page, "Q0003")
    assert len(shown_ids(page)) == 10
    search(page, "")
    page.run("document.activeElement.blur()")
    for key in ("j", "ArrowDown"):
        page.press(key)
    page.wait_for("document.querySelectorAll('#item .strip canvas[data-frame]').length === 4")
    assert page.run("document.querySelector('#item canvas').width") == 32
    assert page.run("[...document.querySelectorAll('.strip figcaption')].map((c) => c.textContent)") == [
        "0.00 s",
        "1.00 s",
        "2.50 s",
        "3.50 s",
    ]
    page.press("k")
    page.wait_for("location.hash === '#0'")
    page.press("End")
    page.wait_for("location.hash === '#39'")
    page.press("/")
    assert page.run("document.activeElement.id") == "search"
    page.press("Escape")
    assert page.run("document.activeElement.id") == "list"
    folder = (tmp_path / "out").absolute().as_uri()
    assert page.requests and all(url.startswith(folder) for url in page.requests)
    assert page.messages == []


def test_a_phone_shows_the_list_or_the_item_and_nothing_is_wider_than_the_screen(page: Page, tmp_path: Path):
    write(tmp_path / "out", 40, with_frames=True)
    page.resize(375, 720)
    try:
        page.open(tmp_path / "out/index.html", READY)
        visible = "(id) => document.getElementById(id).offsetParent !== null"
        assert page.run(f"[({visible})('list'), ({visible})('item')]") == [True, False]
        page.run(f"{ROWS}[1].click()")
        page.wait_for("document.getElementById('back')")
        assert page.run(f"[({visible})('list'), ({visible})('item')]") == [False, True]
        assert page.run("document.documentElement.scrollWidth <= 375")
        page.run("document.getElementById('back').click()")
        assert page.run(f"[({visible})('list'), ({visible})('item')]") == [True, False]
    finally:
        page.resize(1200, 800)


@pytest.mark.slow
def test_fifty_thousand_items_stay_responsive(page: Page, tmp_path: Path):
    write(tmp_path / "out", 50_000)
    page.open(tmp_path / "out/index.html", READY)
    assert count_text(page) == "50,000 of 50,000 items"
    seconds = page.run(
        """(() => { const timed = (act) => { const start = performance.now(); act(); document.body.offsetHeight;
        return (performance.now() - start) / 1000; };
        const set = (id, value, kind) => { const field = document.getElementById(id); field.value = value;
        field.dispatchEvent(new Event(kind)); };
        return { search: timed(() => set('search', 'q0499', 'input')), clear: timed(() => set('search', '', 'input')),
        filter: timed(() => set('verdict', 'flipped', 'change')),
        scroll: timed(() => { list.scrollTop = 1e6; draw(); }) }; })()"""
    )
    assert max(seconds.values()) < 1.0, seconds
    assert page.run(f"{ROWS}.length") < 60


def test_the_command_writes_a_browser_with_the_frames_that_the_policy_saw(tmp_path: Path):
    made = tmp_path / "made"
    make_benchmarks(made, 3, SyntheticParams(num_videos=6, min_seconds=3.0, max_seconds=4.0, size_pixels=64))
    items = load("videomme", made / "videomme", counts=False)
    paths = []
    for name in ("A", "B"):
        answers = answer_items(
            ScriptedPolicy(lambda prompt, name=name: name),
            items,
            find_videos(items, made / "videomme"),
            tmp_path / name,
            budget=FrameBudget(num_frames=8, min_pixels=32 * 32),
            protocol="videossr",
            policy_id=name,
            batch_size=4,
            progress=False,
        )
        paths.append(answers.path)
    out = tmp_path / "out"
    arguments = [
        "browse",
        *map(str, paths),
        "--out",
        str(out),
        "--annotations",
        str(made),
        "--thumbnails",
        "3",
        "--frames",
        "4",
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and f"{len(items)} items, frames of 3" in result.output
    details = json.loads((out / "data/items-00000.js").read_text()[len("items(0,") : -2])
    drawn = [each for each in details if each["strips"]]
    assert len(drawn) == 3
    for each in drawn:
        (strip,) = each["strips"]
        (times,) = each["times"]
        assert (strip["shown"], len(strip["seconds"])) == (len(times), 4)
        assert (out / "frames" / strip["file"]).is_file()
        assert set(strip["seconds"]) < set(times) and strip["seconds"][::3] == [times[0], times[-1]]
    missing = CliRunner().invoke(app, [*arguments, "--videos", str(tmp_path)], catch_exceptions=False)
    assert "3 items have no frames, first" in missing.output and "a video is not in" in missing.output
