"""Take pictures of every page of a project, wide and narrow, light and dark, and check what is on them.

    python -m bench.screenshots pictures                      the pages in reports/, of `make run`
    python -m bench.screenshots pictures --pages browser      those of another folder
    python -m bench.screenshots pictures --services           those of Prefect and MLflow, which it starts if need be

Needs Chromium (Debian's package `chromium`), which opens the pages from the disk. A gallery or item browser is also
shown with its first item open and answered. Fails, after all pictures, where a text has a contrast below 4.5, something
reaches beyond the right edge or has to be scrolled sideways on the wide screen, a page asks for anything outside its
folder, or a script fails. The pages of the services are those of others: `bench.service_pages`.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.service_pages import service_pages, services, show_service
from tests.support.browser import Page, find_chromium, open_browser
from videossr.errors import VideoSSRError
from videossr.paths import REPORTS
from videossr.services.definitions import Ports
from videossr.workspace import configure_tools, project_root

WIDTHS = {"wide": 1280, "narrow": 390}
SCHEMES = ("light", "dark")
_HEIGHT = 1500  # of an item with its answer and its replies
# How the page of a gallery or an item browser shows its first item with its answer.
_FIRST_ROW = "document.querySelector('.row')"
_IS_DRAWN = "document.querySelector('#item h2') && "
_IS_DRAWN += "(document.querySelector('.strip canvas[data-frame]') || !document.querySelector('.strip'))"


def take_pictures(pages: Path, out: Path) -> list[str]:
    """Write a PNG of each page below the folder `pages` to the folder `out`; returns what is wrong with them."""
    out.mkdir(parents=True, exist_ok=True)
    faults = []
    with tempfile.TemporaryDirectory() as profile, open_browser(Path(profile)) as page:
        for path in sorted(pages.rglob("*.html")):
            for size, width in WIDTHS.items():
                for scheme in SCHEMES:
                    name = "-".join([*path.relative_to(pages).with_suffix("").parts, size, scheme])
                    page.resize(width, _HEIGHT)
                    page.use_scheme(scheme)
                    faults += [f"{name}: {fault}" for fault in _show(page, path, pages, out, name)]
    return faults


def take_service_pictures(project: Path, ports: Ports, out: Path) -> list[str]:
    """Write a PNG of each page of the services to the folder `out`; returns what is wrong with them."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile, open_browser(Path(profile)) as page:
        page.resize(WIDTHS["wide"], _HEIGHT)
        page.use_scheme("light")
        return [fault for each in service_pages(project, ports) for fault in show_service(page, each, out)]


def _show(page: Page, path: Path, pages: Path, out: Path, name: str) -> Iterator[str]:
    page.requests.clear()
    page.messages.clear()
    page.open(path)
    page.screenshot(out / f"{name}.png", whole=True)
    yield from _faults(page)
    if (path.parent / "data/meta.js").exists():
        page.wait_for("document.body.dataset.ready === 'yes'")
        if page.run(f"{_FIRST_ROW} !== null"):
            page.run(f"{_FIRST_ROW}.click()")
            page.wait_for(_IS_DRAWN)
            page.press("a")
            page.screenshot(out / f"{name}-item.png")
            yield from _faults(page)
    folder = pages.absolute().as_uri()
    yield from (f"asks for {url}" for url in page.requests if not url.startswith((folder, "data:")))
    yield from page.messages


def _faults(page: Page) -> Iterator[str]:
    yield from (f"cut off: {element}" for element in page.cut_off())
    if page.run("innerWidth") == max(WIDTHS.values()):
        yield from (f"must be scrolled sideways on a wide screen: {element}" for element in page.scrolled())
    yield from (f"low contrast: {text}" for text in page.low_contrast())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python -m bench.screenshots"
    )
    parser.add_argument("out", type=Path, help="the folder for the pictures")
    parser.add_argument("--pages", type=Path, default=REPORTS, help="the folder of the pages")
    parser.add_argument("--services", action="store_true", help="the pages of Prefect and MLflow instead")
    arguments = parser.parse_args()
    if find_chromium() is None:
        sys.exit("the pictures need Chromium: install it (apt install chromium)")
    faults = _services(arguments.out) if arguments.services else _pages(arguments.pages, arguments.out)
    print(f"{sum(1 for _ in arguments.out.glob('*.png'))} pictures in {arguments.out}")
    if faults:
        sys.exit("\n".join(faults))


def _pages(pages: Path, out: Path) -> list[str]:
    if next(pages.rglob("*.html"), None) is None:
        sys.exit(f"there is no page below {pages}: run the pipeline first (make run)")
    return take_pictures(pages, out)


def _services(out: Path) -> list[str]:
    project = project_root()
    configure_tools(project)
    try:
        with services(project) as ports:
            return take_service_pictures(project, ports, out)
    except VideoSSRError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
