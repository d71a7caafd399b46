"""A local server with the file endpoints of the Hub and of GitHub, over folders, for tests."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@dataclass
class FileHub:
    """`repositories` maps (name, commit) to a folder; repositories in `gated` refuse. `asked` has each GET's path."""

    url: str
    repositories: dict[tuple[str, str], Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def find(self, path: str) -> tuple[int, str, Path | None, str]:
        """Status, the Hub's error code, the file and its commit, for the path of a request."""
        parts = path.strip("/").split("/")
        if parts[0] == "datasets":
            repository, commit, name = "/".join(parts[1:3]), parts[4], "/".join(parts[5:])
        else:
            repository, commit, name = "/".join(parts[:2]), parts[2], "/".join(parts[3:])
        if repository in self.gated:
            return 403, "GatedRepo", None, commit
        if all(known != repository for known, _ in self.repositories):
            return 401, "RepoNotFound", None, commit
        if (repository, commit) not in self.repositories:
            return 404, "RevisionNotFound", None, commit
        file = self.repositories[repository, commit] / name
        return (200, "", file, commit) if file.is_file() else (404, "EntryNotFound", None, commit)


@contextmanager
def serve_files() -> Iterator[FileHub]:
    """A server on a free port of this machine, until the body ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            hub.asked.append(self.path)
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            status, code, file, commit = hub.find(self.path)
            content = file.read_bytes() if file else b""
            self.send_response(status)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, format: str, *values: object) -> None:
            """Requests are in `asked`, not on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = FileHub(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
