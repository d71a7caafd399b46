"""The fixed list of reasons for which a file is rejected, for tables, gates and reports."""

REASONS: dict[str, str] = {
    "bad_name": "the name cannot be stored as text",
    "changed_while_read": "the file changed between listing and reading",
    "corrupt": "frames that are needed cannot be decoded without errors",
    "crashed": "the process that read the file died",
    "duplicate": "the same bytes as another file",
    "encrypted": "the frames are encrypted, and there is no key",
    "no_video_stream": "a media file without video",
    "not_a_video": "not one of the containers that are read",
    "out_of_memory": "reading the file takes more memory than the limit",
    "outside_source": "a link to a file outside the source folder",
    "readers_disagree": "two readers return different frames, and no full decode says which are right",
    "timeout": "reading the file takes more processor time than the limit, or waits longer for its data",
    "too_large": "more pixels per frame than the limit",
    "too_long": "a longer duration, or more frames, than the limit",
    "too_many_streams": "more streams than the limit",
    "too_short": "fewer usable frames than a sample needs",
    "unreadable": "the file cannot be opened or read",
    "unsupported": "no decoder for its codec, a slanted picture, or the chosen decoder disagrees with the container",
}
