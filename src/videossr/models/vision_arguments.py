"""What a vision tower derives from the sizes of its clips, computed on the host.

transformers derives it on the device, and the host then waits for the device at every value that it reads.
"""

from typing import Any

import torch
from transformers.vision_utils import (
    get_vision_cu_seqlens,
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from videossr.models.attention import slice_arguments
from videossr.models.backbone import backbone, unwrap


def vision_arguments(model: Any, grids: torch.Tensor) -> dict[str, Any]:
    """Arguments of the model's forward pass for clips of these grids, int64 [clips, 3] on the CPU.

    `video_grid_thw` and the ends of the segments stay on the CPU, where the tower reads them.
    """
    tower, device = backbone(model).visual, unwrap(model).device
    arguments = {
        "video_grid_thw": grids,
        "video_position_ids": get_vision_position_ids(grids, tower.spatial_merge_size).to(device),
        **(slice_arguments(model, grids) or {"video_cu_seqlens": get_vision_cu_seqlens(grids)}),
    }
    if hasattr(tower, "pos_embed"):
        indices, weights = get_vision_interpolation_indices_and_weights(
            grids,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=tower.spatial_merge_size,
        )
        arguments |= {"video_interp_indices": indices.to(device), "video_interp_weights": weights.to(device)}
    if hasattr(tower, "window_size"):
        index, ends = get_vision_window_index(grids, tower.spatial_merge_size, tower.window_size, tower.patch_size)
        arguments |= {"video_window_index": index.to(device), "video_cu_window_seqlens": ends}
    return arguments
