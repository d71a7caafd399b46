"""From a source of videos to a manifest: list the source, obtain its files, inspect each, split by content.

This package module imports nothing, so that a worker process which imports `inspect_file` loads no tables.
"""
