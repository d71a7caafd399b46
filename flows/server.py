"""The Prefect server that a run records on: the project's own if it is up, else one for as long as the run takes."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videossr.errors import VideoSSRError
from videossr.workspace import project_root

START_SECONDS = 120.0
STOP_SECONDS = 15.0


@contextmanager
def server() -> Iterator[str]:
    """The API's address: `PREFECT_API_URL`, the server of `make prefect`, or a new one on loopback that ends with us.

    Raises VideoSSRError where a new one does not start.
    """
    url = os.environ.get("PREFECT_API_URL") or running()
    if url:
        yield url
        return
    log = project_root() / ".prefect" / "server.log"
    log.parent.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A session of its own: after Ctrl-C the stages still report to it. Its standard input closes when we end, however.
    command = [sys.executable, "-m", "flows.server", str(port), str(log)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield _started(guard, f"http://127.0.0.1:{port}/api", log)
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()


def running() -> str | None:
    """The API of the server that `make prefect` started, where one of this very project is up."""
    url = f"http://127.0.0.1:{os.environ.get('VIDEOSSR_PREFECT_PORT', '4200')}/api"
    if not answers(url):
        return None
    try:
        with urllib.request.urlopen(f"{url}/admin/settings", timeout=5) as reply:
            home = json.load(reply).get("home")
    except (OSError, ValueError):
        return None
    return url if home and Path(home).resolve() == (project_root() / ".prefect").resolve() else None


def answers(url: str | None) -> bool:
    """Whether a Prefect API is there and healthy."""
    if not url or os.environ.get("VIDEOSSR_PREFECT") == "off":
        return False
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _started(guard: subprocess.Popen[bytes], url: str, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if answers(url):
            return url
        if guard.poll() is not None:
            break
        time.sleep(0.2)
    raise VideoSSRError(f"Prefect's server did not start, {log} says why; `dvc repro` runs the same without it")


def main() -> None:
    """Keep a server on the given port until standard input closes."""
    port, log = sys.argv[1:]
    with Path(log).open("wb") as file:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        if process.poll() is None:
            sys.stdin.read()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    main()
