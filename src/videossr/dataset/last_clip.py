"""A store of clips that keeps the clip it read last, for samples that are ordered by video."""

from collections.abc import Iterator, Mapping

from videossr.clip import Clip


class LastClipCache(Mapping[str, Clip]):
    """A store that keeps the clip it read last: the frames of a video are decoded once for its successive samples."""

    def __init__(self, store: Mapping[str, Clip]) -> None:
        self._store = store
        self._cached: tuple[str, Clip] | None = None

    def __getitem__(self, video_id: str) -> Clip:
        if self._cached is None or self._cached[0] != video_id:
            self._cached = video_id, self._store[video_id]
        return self._cached[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store)
