"""What the host does for a prompt: decode its frames and cut their patches. Measured on this machine."""

import time
from collections.abc import Sequence

import numpy as np
import simplejpeg
import torch
from transformers import Qwen3VLVideoProcessor

from videossr.clip import Pixels
from videossr.frames.encoding import encode_jpeg
from videossr.models.patches import cut_patches
from videossr.models.policy import Prompt
from videossr.plan.architecture import VisionSizes


def host_seconds(prompts: Sequence[Prompt], shares: Sequence[float], vision: VisionSizes) -> float:
    """CPU-seconds of one thread for a prompt, as the mean over `prompts` with weights `shares`.

    Frames are noise, which JPEG compresses badly: videos decode somewhat faster. The tokenizer is not included.
    """
    processor = Qwen3VLVideoProcessor(
        patch_size=vision.patch_pixels, temporal_patch_size=vision.slice_frames, merge_size=vision.merge
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return float(np.average([_seconds_of(prompt, processor) for prompt in prompts], weights=shares))
    finally:
        torch.set_num_threads(threads)


def _seconds_of(prompt: Prompt, processor: Qwen3VLVideoProcessor) -> float:
    jpegs = [[encode_jpeg(frame) for frame in _noise_like(clip.frames)] for clip in prompt.clips]
    start = time.thread_time()
    for clip in jpegs:
        cut_patches(processor, np.stack([simplejpeg.decode_jpeg(file, "RGB") for file in clip]))
    return time.thread_time() - start


def _noise_like(frames: Pixels) -> Pixels:
    """Frames of the same shape: one picture of noise, and the weaker noise of a camera."""
    rng = np.random.default_rng(0)
    shared, own = rng.normal(128, 40, frames.shape[1:]), rng.normal(0, 4, frames.shape)
    return np.clip(shared + own, 0, 255).astype(np.uint8)
