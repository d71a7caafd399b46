"""A source behind a URL: the files in it, and one sentence if it cannot be reached.

Credentials come from the same places as those of the store's own tools (for S3 `AWS_PROFILE`, `AWS_ACCESS_KEY_ID`,
`~/.aws`, a role), never from the URL, which is written into parameters and logs.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import fsspec

from videossr.errors import ConfigError, SourceError

# Keys under which stores describe the version of a file, the most reliable first.
_VERSION_KEYS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "LastModified",
    "last_modified",
    "mtime",
    "updated",
    "created",
)
# A web server that fails is asked again after 0.5, 1 and 2 seconds. The libraries of S3 and Google do so by themselves.
_WEB_ATTEMPTS, _HALF_OF_FIRST_WAIT = 4, 0.25
# Errors of the stores' libraries that inherit from no Python error. When one is raised, its module has been imported.
_LIBRARY_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("azure.core.exceptions", "AzureError"),
    ("paramiko", "SSHException"),
)


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL as it was listed: `name` below the folder, size in bytes, `mark` of its version.

    Some stores give no size (None) or no version ("").
    """

    name: str
    size: int | None
    mark: str


async def _retrying_client(**options: Any) -> Any:
    """An HTTP session for fsspec that asks again where a server answers with an error of its own, or not at all."""
    from aiohttp_retry import ExponentialRetry, RetryClient

    return RetryClient(retry_options=ExponentialRetry(_WEB_ATTEMPTS, _HALF_OF_FIRST_WAIT), **options)


# Several files are fetched at a time, each in one request: several parts of each would take gigabytes of memory.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "s3": {"max_concurrency": 1},
    "http": {"get_client": _retrying_client},
    "https": {"get_client": _retrying_client},
}


class RemoteFolder:
    """The folder behind a URL and the fsspec file system that holds it.

    Raises SourceError where no library for the URL's protocol is installed, or the URL names no bucket.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.file_system, self._root = fsspec.core.url_to_fs(url, **_OPTIONS.get(urlsplit(url).scheme, {}))
        except store_errors() as error:
            raise _unreachable(url, error) from None
        if not self._root:
            raise SourceError(f"the source {url} names no bucket: write {urlsplit(url).scheme}://bucket/folder")

    def require_exists(self) -> None:
        """Raise SourceError if the folder cannot be reached. Does not list its files."""
        try:
            self.file_system.info(self._root)
        except store_errors() as error:
            raise _unreachable(self.url, error) from None

    def list_files(self) -> list[RemoteFile]:
        """Every file below the folder, by name. Raises SourceError where the folder cannot be listed."""
        try:
            self.file_system.invalidate_cache()
            found = self.file_system.find(self._root, detail=True)
        except store_errors() as error:
            raise _unreachable(self.url, error) from None
        prefix = self._root.rstrip("/") + "/"
        files = [
            RemoteFile(path.removeprefix(prefix), info.get("size"), _version(info)) for path, info in found.items()
        ]
        return sorted(files, key=lambda file: file.name)

    def path_of(self, name: str) -> str:
        """The path in `file_system` of the file that was listed as `name`."""
        return (self._root.rstrip("/") + "/" if self._root else self.file_system.root_marker) + name

    def url_of(self, name: str) -> str:
        """The URL of the file that was listed as `name`."""
        return str(self.file_system.unstrip_protocol(self.path_of(name)))


def is_url(source: str) -> bool:
    """Whether a source is the URL of a folder, not a path."""
    return "://" in source


def require_no_secret(url: str) -> None:
    """Raise ConfigError if a URL contains a password, a signature or a token; the message does not repeat it."""
    if re.search(r":.*:.*@|[?]", url):
        raise ConfigError(
            "a URL is written into parameters and logs, so it must contain no password (user:password@), no signature "
            "and no token (?...), but this one does: give credentials by the environment (for S3 AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID)"
        )


def require_reachable(url: str) -> None:
    """Raise SourceError if the folder at `url` cannot be reached, ConfigError if the URL contains a secret."""
    require_no_secret(url)
    if urlsplit(url).scheme == "memory":
        raise SourceError(
            f"the source {url} exists in one process only, and each stage is another process: name another source"
        )
    RemoteFolder(url).require_exists()


def store_errors() -> tuple[type[Exception], ...]:
    """All errors that a store may raise. Call it in the `except` clause: by then their libraries are imported."""
    imported = ((sys.modules.get(module), name) for module, name in _LIBRARY_ERRORS)
    return (ImportError, OSError, ValueError, *(getattr(module, name) for module, name in imported if module))


def one_line(error: Exception) -> str:
    """The message of an error in one line of at most 300 characters; its class where it has no message."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _version(info: Mapping[str, object]) -> str:
    return next((str(info[key]) for key in _VERSION_KEYS if info.get(key)), "")


def _unreachable(url: str, error: Exception) -> SourceError:
    if isinstance(error, ImportError):
        return SourceError(f"the source {url} needs a library ({one_line(error)}): for S3, install '.[s3]'")
    if isinstance(error, FileNotFoundError):
        return SourceError(f"the source {url} does not exist: check the bucket and the folder in ingest.source")
    if isinstance(error, PermissionError):
        return SourceError(
            f"the source {url} may not be listed ({one_line(error)}): give your credentials the right to list and to "
            "read it, or name others (for S3 AWS_PROFILE, or AWS_ACCESS_KEY_ID)"
        )
    return SourceError(
        f"the source {url} cannot be reached ({one_line(error)}): check the URL, the network and your credentials, and "
        "run again; fetched files are kept"
    )
