"""From a source of videos to a manifest: found, fetched, inspected, split by content; what cannot be used is named.

The package itself imports nothing: a process that inspects files loads `inspect_file` and no tables.
"""
