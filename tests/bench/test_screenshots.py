"""Pictures of pages: every page in every form, and what is wrong with it."""

from pathlib import Path

import pytest

from bench.screenshots import take_pictures
from tests.support.browser import find_chromium

GOOD = """<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<p>text</p>"""
BAD = f"""{GOOD}<div style="width: 700px">wide</div><p style="color: #aaa; background: #bbb">pale</p>
<div style="width: 300px; overflow-x: auto"><div style="width: 600px">hidden</div></div>
<script>throw new Error("broken")</script><img src="http://127.0.0.1:1/picture.png">"""


def test_every_page_is_shown_in_four_forms_and_its_faults_are_named(tmp_path: Path) -> None:
    if find_chromium() is None:
        pytest.skip("needs Chromium")
    pages, out = tmp_path / "pages", tmp_path / "out"
    (pages / "below").mkdir(parents=True)
    (pages / "good.html").write_text(GOOD)
    (pages / "below/bad.html").write_text(BAD)
    faults = take_pictures(pages, out)
    forms = [f"{width}-{scheme}" for width in ("wide", "narrow") for scheme in ("light", "dark")]
    names = {path.stem for path in out.iterdir() if path.stat().st_size}
    assert names == {f"{page}-{form}" for page in ("good", "below-bad") for form in forms}
    assert [fault for fault in faults if not fault.startswith("below-bad-")] == []
    found = {
        fault.partition(": ")[2].partition(":")[0] for fault in faults if fault.startswith("below-bad-narrow-light")
    }
    assert {"cut off", "low contrast"} <= found and any("asks for http://127.0.0.1:1/" in fault for fault in faults)
    assert any("broken" in fault for fault in faults)
    assert any("wide-dark: must be scrolled sideways" in fault for fault in faults)
