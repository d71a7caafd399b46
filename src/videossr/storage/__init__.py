"""Files on disk: atomic writing, JSON lines, parquet tables, the quarantine, and fingerprints."""
