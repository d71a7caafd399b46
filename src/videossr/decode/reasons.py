"""Why a file is not used: the fixed list, for tables, gates and reports."""

REASONS: dict[str, str] = {
    "bad_name": "the name cannot be stored as text",
    "changed_while_read": "the file changed between listing and reading",
    "corrupt": "frames that are needed cannot be decoded without errors",
    "crashed": "the process that read it died",
    "duplicate": "the same bytes as another file",
    "no_video_stream": "a media file without pictures",
    "not_a_video": "none of the containers that are read",
    "out_of_memory": "reading it takes more memory than a file may take",
    "outside_source": "a link that leads out of the source folder",
    "readers_disagree": "two readers see different frames, and no full decode says who is right",
    "timeout": "reading it takes longer than a file may take",
    "too_large": "more pixels a frame than are read",
    "too_long": "a longer clock, or more frames, than are read",
    "too_many_streams": "more streams than are read",
    "too_short": "fewer usable frames than a puzzle needs",
    "unreadable": "the file cannot be opened or read",
    "unsupported": "no decoder for this codec, a picture askew, or the chosen decoder disagrees with the container",
}
