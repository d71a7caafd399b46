"""Policies that answer prompts about videos: Qwen-VL models, the tiny random policy, and their checkpoints on disk."""
