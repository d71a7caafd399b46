"""Which videos a registered model opens: on a server, files below one folder and bytes that a request carries.

A server without `VIDEOSSR_SERVED_VIDEOS` opens no file: otherwise whoever can send a request could read what the server
can read.
"""

import base64
import binascii
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from videossr.errors import SourceError

FOLDER_VARIABLE = "VIDEOSSR_SERVED_VIDEOS"
_DATA, _BASE64 = "data:", ";base64,"


@dataclass(frozen=True)
class VideoAccess:
    """The videos that a model may open: any file (`is_trusted`: the caller's own rights), or those below `folder`."""

    is_trusted: bool
    folder: Path | None = None

    @contextmanager
    def open(self, videos: Sequence[str]) -> Iterator[list[Path]]:
        """The videos as files, inside the context: `data:video/mp4;base64,...` is written to a temporary file.

        Raises SourceError, which names no path of the server, where a video may not be opened.
        """
        with tempfile.TemporaryDirectory(prefix="videossr-") as uploads:
            yield [self._file(video, Path(uploads) / str(i)) for i, video in enumerate(videos)]

    def _file(self, video: str, upload: Path) -> Path:
        if video.startswith(_DATA):
            upload.write_bytes(_decoded(video))
            return upload
        if self.is_trusted:
            return Path(video)
        if self.folder is None:
            raise SourceError(
                "this server opens no files: send the video as 'data:video/mp4;base64,...', or start the server with a "
                "folder of videos"
            )
        path = (self.folder / video).resolve()  # of a link: the file that it leads to
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise SourceError("a video must be a file below the server's folder of videos, named relative to it")
        return path


def served_access(is_trusted: bool, environment: Mapping[str, str] = os.environ) -> VideoAccess:
    """The access of a model that is loaded in this process; a server reads its folder from the environment."""
    folder = environment.get(FOLDER_VARIABLE)
    return VideoAccess(is_trusted, Path(folder) if folder else None)


def _decoded(video: str) -> bytes:
    content = video.partition(_BASE64)[2]
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise SourceError(
            f"a video that begins with '{_DATA}' must go on with 'video/mp4{_BASE64}' and base64"
        ) from None
