"""VideoSSR: puzzles cut out of raw videos, and video-language models reinforced by rewards that arithmetic checks."""
