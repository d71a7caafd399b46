"""The pixels of videos as patches: what the video processor of Qwen3-VL computes, and the product that reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import linear
from transformers import Qwen3VLProcessor, Qwen3VLVideoProcessor

from videossr.clip import Clip, Pixels
from videossr.models.backbone import backbone


def reads_as_patches(processor: Any, clips: Sequence[Clip]) -> bool:
    """Whether `cut_patches` equals the processor: Qwen3-VL's own classes, and frames that fit its grid."""
    video = processor.video_processor
    if type(processor) is not Qwen3VLProcessor or type(video) is not Qwen3VLVideoProcessor:
        return False
    cell = video.patch_size * video.merge_size
    fits = all(side % cell == 0 for clip in clips for side in clip.frames.shape[1:3])
    return fits and video.do_rescale and video.do_normalize


def cut_patches(video_processor: Any, frames: Pixels) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Frames uint8 [T, H, W, 3] as patches float32 [t * h * w, 3 * temporal * patch * patch], and their grid (t, h, w).

    The last frame is repeated where the number of frames does not fit.
    """
    size, merge, per_slice = (getattr(video_processor, n) for n in ("patch_size", "merge_size", "temporal_patch_size"))
    missing = -len(frames) % per_slice
    if missing:
        frames = np.concatenate([frames, frames[-1:].repeat(missing, axis=0)])
    grid = len(frames) // per_slice, frames.shape[1] // size, frames.shape[2] // size
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).view(
        grid[0], per_slice, grid[1] // merge, merge, size, grid[2] // merge, merge, size, 3
    )
    patches = pixels.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(grid[0] * grid[1] * grid[2], 3, -1).to(torch.float32)
    scale = 1.0 / video_processor.rescale_factor
    mean, std = (torch.tensor(getattr(video_processor, n))[:, None] * scale for n in ("image_mean", "image_std"))
    return patches.sub_(mean).div_(std).flatten(1), grid


class PatchProduct(torch.nn.Conv3d):
    """A convolution over inputs of exactly the size of its kernel, as one matrix product.

    On a CPU, and in bfloat16 on a GPU, the product is many times faster, and equal to rounding.
    """

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """`patches` [N, C, t, h, w] to [N, D, 1, 1, 1]."""
        out = linear(patches.flatten(1), self.weight.flatten(1), self.bias)
        return out[:, :, None, None, None]


def use_patch_product(model: Any) -> None:
    """Embed the patches of the vision tower by one matrix product. Weights and their names stay what they are."""
    projection = backbone(model).visual.patch_embed.proj
    if type(projection) is torch.nn.Conv3d and projection.kernel_size == projection.stride:
        projection.__class__ = PatchProduct
