"""Take pictures of every page of a project, wide and narrow, light and dark, and check what is on them.

    python -m bench.screenshots pictures                      the pages in reports/, of `make run`
    python -m bench.screenshots pictures --pages browser      those of another folder
    python -m bench.screenshots pictures --services           those of Prefect and MLflow, after `make up` and a run

Needs Chromium (Debian's package `chromium`), which opens the pages from the disk. A gallery or item browser is also
shown with its first item open and answered. Fails, after all pictures, where a text has a contrast below 4.5, something
reaches beyond the right edge or has to be scrolled sideways on the wide screen, a page asks for anything outside its
folder, or a script fails. The pages of the services are not ours: a picture of each is taken, and checked is that it
shows the run, the deployment or the model, and asks no other machine.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.support.browser import Page, find_chromium, open_browser
from videossr import tracking
from videossr.paths import REPORTS
from videossr.services.definitions import Ports, prefect_api
from videossr.services.supervisor import running_ports
from videossr.workspace import project_root

WIDTHS = {"wide": 1280, "narrow": 390}
SCHEMES = ("light", "dark")
_HEIGHT = 1500  # of an item with its answer and its replies
_SERVICE_HEIGHT, _DRAW_SECONDS = 1000, 2.0  # their pages go on drawing after their texts are there
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


def take_service_pictures(project: Path, ports: Ports, out: Path) -> list[str]:
    """Write a PNG of each page of Prefect and MLflow to the folder `out`; returns what is wrong with them."""
    out.mkdir(parents=True, exist_ok=True)
    faults = []
    with tempfile.TemporaryDirectory() as profile, open_browser(Path(profile)) as page:
        page.resize(max(WIDTHS.values()), _SERVICE_HEIGHT)
        for name, (url, text) in {**prefect_pages(ports), **mlflow_pages(project, ports)}.items():
            page.requests.clear()
            page.visit(url)
            page.wait_for_text(text)
            time.sleep(_DRAW_SECONDS)
            page.screenshot(out / f"{name}.png")
            hosts = {urlsplit(request.removeprefix("blob:")).hostname for request in page.requests}
            faults += [f"{name}: asks {host}" for host in sorted(filter(None, hosts - {"127.0.0.1"}))]
    return faults


def prefect_pages(ports: Ports) -> dict[str, tuple[str, str]]:
    """Name -> address, and a text that the page must show. Of the runs, the last one of a flow of ours."""
    origin, api = f"http://127.0.0.1:{ports.prefect}", prefect_api(ports)
    order = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": ["pipeline"]}}}
    reply = requests.post(f"{api}/flow_runs/filter", json=order, timeout=60)
    reply.raise_for_status()
    runs = {f"prefect-run-{run['name']}": (f"{origin}/runs/flow-run/{run['id']}", run["name"]) for run in reply.json()}
    return {
        "prefect-start": (origin, "Dashboard"),
        "prefect-dashboard": (f"{origin}/dashboard", "Flow Runs"),
        "prefect-runs": (f"{origin}/runs", "pipeline"),
        "prefect-deployments": (f"{origin}/deployments", "weekly"),
        "prefect-work-pools": (f"{origin}/work-pools", "gpu"),
        "prefect-artifacts": (f"{origin}/artifacts", "stages"),
        "prefect-artifact": (f"{origin}/artifacts/key/stages", "the last run of each stage"),
        **runs,
    }


def mlflow_pages(project: Path, ports: Ports) -> dict[str, tuple[str, str]]:
    """Name -> address, and a text that the page must show: the runs, the last one of the pipeline, the model."""
    origin, client = f"http://127.0.0.1:{ports.mlflow}", tracking.mlflow_client(project)
    experiment = client.get_experiment_by_name(tracking.MLFLOW_NAME).experiment_id
    query = "tags.`dvc.stage` = 'pipeline'"
    runs = client.search_runs([experiment], query, order_by=["attributes.start_time DESC"], max_results=1)
    model = f"{origin}/#/models/{tracking.MLFLOW_NAME}"
    pages = {"mlflow-runs": (f"{origin}/#/experiments/{experiment}/runs", "pipeline")}
    for run in runs:
        pages["mlflow-run"] = (f"{origin}/{tracking.run_page(project, run.info.run_id)}", run.info.run_name)
    for version in tracking.versions(project):
        pages["mlflow-model"] = (model, tracking.MLFLOW_NAME)
        pages[f"mlflow-version-{version.number}"] = (f"{model}/versions/{version.number}", "Source Run")
    return pages


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
    ports = running_ports(project_root())
    if arguments.services and ports is None:
        sys.exit("the services are not up: start them first (make up)")
    if not arguments.services and next(arguments.pages.rglob("*.html"), None) is None:
        sys.exit(f"there is no page below {arguments.pages}: run the pipeline first (make run)")
    if arguments.services:
        faults = take_service_pictures(project_root(), ports, arguments.out)
    else:
        faults = take_pictures(arguments.pages, arguments.out)
    print(f"{sum(1 for _ in arguments.out.glob('*.png'))} pictures in {arguments.out}")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
