"""Turn a prompt into tensors: chat template, tokenizer and video processor, with the true time of every frame.

Any Qwen-VL checkpoint loads by hub name or folder. The tiny random policy uses the same classes, so a laptop runs the
code path that `Qwen/Qwen3-VL-8B-Instruct` runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers.video_utils import VideoMetadata

from videossr.clip import Clip
from videossr.models.patches import cut_patches, reads_as_patches
from videossr.models.policy import Prompt
from videossr.records import VIDEO_MARKER

SYSTEM_PROMPT = "Answer directly, in the format asked for."
# The processor computes the time of a frame as index / fps. At 1000 fps an index is a whole number of milliseconds, so
# that uneven presentation times stay true.
_METADATA_FPS = 1000
_VIDEO_END = "<|vision_end|>"


@dataclass(frozen=True)
class VisionFeatures:
    """The output of the vision tower for the clips of one prompt.

    `clips` holds one float tensor [visual tokens, width] per clip. `deepstack` holds, for every DeepStack layer, one
    such tensor per clip; it is empty for families without DeepStack.
    """

    clips: tuple[torch.Tensor, ...]
    deepstack: tuple[tuple[torch.Tensor, ...], ...]


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt as tensors, its videos included.

    `input_ids` and `mm_token_type_ids` are int64 [P] (type 2 marks video tokens). `pixel_values_videos` is float32
    [patches, channels * temporal * patch * patch]. `video_grid_thw` is int64 [clips, 3]. `second_per_grid_ts` is
    float32 [clips] for Qwen2.5-VL, which derives positions from it, and None for Qwen3-VL. `vision`, when given,
    replaces the pass of the vision tower; it must come from the model that receives the prompt. `positions`, int64
    [4, P], are its position ids once they are known (`models.model_inputs.with_positions`).
    """

    input_ids: torch.Tensor
    mm_token_type_ids: torch.Tensor
    pixel_values_videos: torch.Tensor
    video_grid_thw: torch.Tensor
    second_per_grid_ts: torch.Tensor | None = None
    vision: VisionFeatures | None = None
    positions: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.input_ids)


def chat_messages(text: str, system: str = "") -> list[dict[str, Any]]:
    """The system prompt and one user turn, with a video block at each `<video>` marker and text blocks between."""
    blocks: list[dict[str, str]] = []
    for i, piece in enumerate(text.split(VIDEO_MARKER)):
        blocks += [{"type": "video"}] if i else []
        blocks += [{"type": "text", "text": piece}] if piece else []
    return [
        {"role": "system", "content": [{"type": "text", "text": system or SYSTEM_PROMPT}]},
        {"role": "user", "content": blocks},
    ]


def encode(processor: Any, prompt: Prompt) -> EncodedPrompt:
    """Run chat template, tokenizer and video processor on one prompt, with the presentation times of its clips.

    Frames are not resampled in time. They keep their size where both sides fit the model's grid (multiples of 32 for
    Qwen3-VL); otherwise they are resized to the nearest sides that fit. With Qwen3-VL's processor a prompt may be text
    alone.
    """
    text = _chat_text(processor, prompt)
    is_marked = text.count(processor.video_token) == len(prompt.clips) and processor.image_token not in text
    if is_marked and reads_as_patches(processor, prompt.clips):
        return _encode_patches(processor, text, prompt.clips)
    return _encode_by_processor(processor, text, prompt)


def _encode_patches(processor: Any, text: str, clips: Sequence[Clip]) -> EncodedPrompt:
    """What the processor of Qwen3-VL returns, bit for bit, in a third of its time.

    The processor converts all pixels before it moves them; here bytes are moved, and converted in place.
    """
    patches = [cut_patches(processor.video_processor, clip.frames) for clip in clips]
    grids = torch.tensor([grid for _, grid in patches], dtype=torch.long).reshape(-1, 3)
    pieces = text.split(processor.video_token)
    for i, (clip, grid) in enumerate(zip(clips, grids.tolist(), strict=True)):
        pieces[i] += _video_text(processor, clip, grid)
    ids = torch.tensor(processor.tokenizer("".join(pieces))["input_ids"])
    types = torch.where(ids == processor.video_token_id, 2, 0)
    return EncodedPrompt(ids, types, torch.cat([pixels for pixels, _ in patches] or [torch.empty(0)]), grids)


def _video_text(processor: Any, clip: Clip, grid: Sequence[int]) -> str:
    """The text that stands for a clip of `grid` patches, as Qwen3-VL's processor writes it: slice by slice."""
    slices, height, width = grid
    per_slice = processor.video_processor.temporal_patch_size
    seconds = [round(time * _METADATA_FPS) / _METADATA_FPS for time in clip.times]
    seconds += seconds[-1:] * (slices * per_slice - len(seconds))
    cells = processor.video_token * (height * width // processor.video_processor.merge_size**2)
    shown = processor.vision_start_token + cells + processor.vision_end_token
    first_and_last = zip(seconds[::per_slice], seconds[per_slice - 1 :: per_slice], strict=True)
    return "".join(f"<{(first + last) / 2:.1f} seconds>{shown}" for first, last in first_and_last)


def _encode_by_processor(processor: Any, text: str, prompt: Prompt) -> EncodedPrompt:
    out = processor(
        text=[text],
        videos=[torch.from_numpy(clip.frames).permute(0, 3, 1, 2) for clip in prompt.clips],
        video_metadata=[_metadata(clip) for clip in prompt.clips],
        do_sample_frames=False,
        return_tensors="pt",
        **_resize_options(processor.video_processor, prompt.clips),
    )
    return EncodedPrompt(
        out["input_ids"][0],
        out["mm_token_type_ids"][0],
        out["pixel_values_videos"],
        out["video_grid_thw"],
        _seconds_per_temporal_patch(processor, prompt.clips) if "second_per_grid_ts" in out else None,
    )


def encode_about_same_videos(processor: Any, prompts: Sequence[Prompt]) -> list[EncodedPrompt]:
    """The same as `encode` of each prompt, with one pass of the video processor and one set of pixels for all of them.

    The prompts must hold the same clips and the same text up to the last video. The tokenizer cuts text at the special
    token that ends a video, so what follows it can be tokenized alone.
    """
    first = encode(processor, prompts[0])
    end_id = processor.tokenizer.convert_tokens_to_ids(_VIDEO_END)
    head_length = int((first.input_ids == end_id).nonzero()[-1]) + 1
    tails = [_chat_text(processor, prompt).rpartition(_VIDEO_END)[2] for prompt in prompts]
    ids = processor.tokenizer(tails, add_special_tokens=False)["input_ids"]
    return [_with_tail(first, head_length, torch.tensor(tail)) for tail in ids]


def _with_tail(prompt: EncodedPrompt, head_length: int, tail: torch.Tensor) -> EncodedPrompt:
    ids = torch.cat([prompt.input_ids[:head_length], tail])
    types = torch.cat([prompt.mm_token_type_ids[:head_length], torch.zeros_like(tail)])
    return replace(prompt, input_ids=ids, mm_token_type_ids=types)


def _chat_text(processor: Any, prompt: Prompt) -> str:
    messages = chat_messages(prompt.text, prompt.system)
    return str(processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def _resize_options(video_processor: Any, clips: Sequence[Clip]) -> dict[str, Any]:
    """Options of the video processor that keep the frames' size, or only round it to the model's grid."""
    cell = video_processor.patch_size * video_processor.merge_size
    sizes = [clip.frames.shape[1:3] for clip in clips]
    if all(side % cell == 0 for size in sizes for side in size):
        return {"do_resize": False, "cap_pixels_per_frame": False}
    largest = max(height * width * len(clip) for (height, width), clip in zip(sizes, clips, strict=True))
    pixel_limits = {"shortest_edge": cell * cell, "longest_edge": 4 * largest}  # too wide to apply: rounding alone acts
    return {"do_resize": True, "size": pixel_limits, "cap_pixels_per_frame": False}


def _seconds_per_temporal_patch(processor: Any, clips: Sequence[Clip]) -> torch.Tensor:
    """Duration of one temporal patch (the frames that share their tokens) by presentation times, float32 [clips]."""
    patch_frames = processor.video_processor.temporal_patch_size
    steps = [(clip.times[-1] - clip.times[0]) / max(len(clip) - 1, 1) for clip in clips]
    return torch.tensor([patch_frames * step for step in steps], dtype=torch.float32)


def _metadata(clip: Clip) -> VideoMetadata:
    indices = [round(seconds * _METADATA_FPS) for seconds in clip.times]
    height, width = clip.frames.shape[1:3]
    return VideoMetadata(
        total_num_frames=indices[-1] + 1, fps=_METADATA_FPS, frames_indices=indices, height=height, width=width
    )
