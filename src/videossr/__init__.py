"""VideoSSR: puzzles cut out of raw videos, and reinforcement of video-language models with rewards that arithmetic checks."""
