"""The Prefect server that a run reports to: the project's own if it is running, else a temporary one."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from videossr.errors import VideoSSRError
from videossr.services.supervisor import running_ports
from videossr.terminal import printable
from videossr.workspace import project_root

START_SECONDS = 120.0
STOP_SECONDS = 15.0


def prefect_server() -> AbstractContextManager[str]:
    """The URL of a Prefect API: that of `find_server`, or of a temporary server."""
    url = find_server()
    return nullcontext(url) if url else temporary_server()


@contextmanager
def temporary_server(meanwhile: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Yield the URL of a Prefect API on loopback that ends with the context. Raises VideoSSRError.

    `meanwhile` is called while the server starts, which takes up to fifteen seconds in a new project.
    """
    log = project_root() / ".prefect" / "server.log"
    log.parent.mkdir(exist_ok=True)
    port = _free_port()
    # A session of its own, because stages still report to the server after Ctrl-C. `main` below keeps the server until
    # its standard input closes, which also happens when this process is killed.
    command = [sys.executable, "-m", "flows.server", str(port), str(log)]
    wrapper = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        meanwhile()
        yield _wait_until_healthy(wrapper, f"http://127.0.0.1:{port}/api", log)
    finally:
        assert wrapper.stdin is not None
        wrapper.stdin.close()
        wrapper.wait()


def find_server() -> str | None:
    """The URL of a Prefect API that answers: `PREFECT_API_URL`, or the project's own server; else None.

    `PREFECT_API_URL` is passed over, with a sentence on standard error, where it does not answer.
    """
    return configured_server() or find_project_server()


def configured_server() -> str | None:
    """`PREFECT_API_URL`, where a server answers there; else None, after a sentence where it is set."""
    url = os.environ.get("PREFECT_API_URL")
    if not url or answers(url):
        return url or None
    sentence = f"no Prefect server answers at {url} (PREFECT_API_URL): going on without it"
    print(printable(sentence), file=sys.stderr, flush=True)
    return None


def find_project_server() -> str | None:
    """The API URL of the server that `make up` or `make prefect` started for this project, or None."""
    ports = running_ports(project_root())
    port = ports.prefect if ports else os.environ.get("VIDEOSSR_PREFECT_PORT", "4200")
    url = f"http://127.0.0.1:{port}/api"
    if not answers(url):
        return None
    try:
        with urllib.request.urlopen(f"{url}/admin/settings", timeout=5) as reply:
            prefect_home = json.load(reply).get("home")
    except (OSError, ValueError):
        return None
    is_ours = prefect_home and Path(prefect_home).resolve() == (project_root() / ".prefect").resolve()
    return url if is_ours else None


def answers(url: str) -> bool:
    """Whether a Prefect API at `url` reports that it is healthy."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(wrapper: subprocess.Popen[bytes], url: str, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if answers(url):
            return url
        if wrapper.poll() is not None:
            break
        time.sleep(0.2)
    raise VideoSSRError(
        f"Prefect's server did not start: read why in {log}, or run `dvc repro`, which does the same without it"
    )


def main() -> None:
    """Run a server on the given port until standard input closes; its output goes to the given file."""
    port, log = sys.argv[1:]
    with Path(log).open("wb") as file:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
        # Its pages would ask the default port.
        environment = {**os.environ, "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api"}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment)
        if process.poll() is None:
            sys.stdin.read()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    main()
