"""Video policies: what answers prompts, Qwen-VL models, the tiny random one, and checkpoints on disk."""
