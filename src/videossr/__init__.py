"""VideoSSR: samples made from raw videos, and reinforcement learning of video-language models with computed rewards."""
