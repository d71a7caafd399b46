"""Files on disk: written whole or not at all, read back tolerantly, and told apart by fingerprints."""
