"""Qwen-VL as a video policy: chat template, processor with true time stamps, features once a prompt, greedy replies.

Any checkpoint of the family loads by name or folder; `tiny-random` makes a random one of a few million parameters through
the same classes, so that a laptop walks the very path that `Qwen/Qwen3-VL-8B-Instruct` walks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from transformers.video_utils import VideoMetadata

from videossr.clip import Clip
from videossr.models.policy import Prompt
from videossr.records import VIDEO_MARKER

SYSTEM_PROMPT = "Answer directly, in the format asked for."
MILLISECONDS = 1000  # the clock handed to the processor: whole milliseconds keep presentation times true


@dataclass(frozen=True)
class VisionFeatures:
    """What a vision tower made of one prompt's clips.

    `clips` holds one float [tokens, width] a clip; `deepstack` the same for every layer that feeds the language model anew
    (none in families without DeepStack).
    """

    clips: tuple[torch.Tensor, ...]
    deepstack: tuple[tuple[torch.Tensor, ...], ...]


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt as tensors, its videos included.

    `input_ids` and `mm_token_type_ids` are int64 [P] (type 2 marks video tokens); `pixel_values_videos` is float32
    [patches, channels * temporal * patch * patch]; `video_grid_thw` is int64 [clips, 3]. `vision`, where it is given,
    spares the vision tower: it must be the tower's of the very model that is asked.
    """

    input_ids: torch.Tensor
    mm_token_type_ids: torch.Tensor
    pixel_values_videos: torch.Tensor
    video_grid_thw: torch.Tensor
    second_per_grid_ts: torch.Tensor | None = None
    vision: VisionFeatures | None = None

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class PaddedPrompts:
    """Left-padded prompts as keyword arguments of the model: of their `tokens` [B, P], and of their `videos`."""

    tokens: dict[str, torch.Tensor]
    videos: dict[str, Any]


def chat(text: str) -> list[dict[str, Any]]:
    """One user turn as content blocks: a video block at each `<video>` marker, text between them."""
    blocks: list[dict[str, str]] = []
    for i, piece in enumerate(text.split(VIDEO_MARKER)):
        blocks += [{"type": "video"}] if i else []
        blocks += [{"type": "text", "text": piece}] if piece else []
    return [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
        {"role": "user", "content": blocks},
    ]


def encode(processor: Any, prompt: Prompt) -> EncodedPrompt:
    """Run template, tokenizer and video processor once for one prompt, with the clips' own presentation times.

    Frames are not resampled in time, nor in space where their sides already fit the model's grid (multiples of 32 fit
    Qwen3-VL); where they do not, they are scaled to the nearest that do.
    """
    text = processor.apply_chat_template(chat(prompt.text), add_generation_prompt=True, tokenize=False)
    out = processor(
        text=[text],
        videos=[torch.from_numpy(clip.frames).permute(0, 3, 1, 2) for clip in prompt.clips],
        video_metadata=[_metadata(clip) for clip in prompt.clips],
        do_sample_frames=False,
        return_tensors="pt",
        **_scaling(processor.video_processor, prompt.clips),
    )
    return EncodedPrompt(
        out["input_ids"][0],
        out["mm_token_type_ids"][0],
        out["pixel_values_videos"],
        out["video_grid_thw"],
        _slice_seconds(processor, prompt.clips) if "second_per_grid_ts" in out else None,
    )


def _scaling(video_processor: Any, clips: Sequence[Clip]) -> dict[str, Any]:
    """How the processor is to treat the size of the frames: leave it, or round it to the grid without a budget."""
    cell = video_processor.patch_size * video_processor.merge_size
    sizes = [clip.frames.shape[1:3] for clip in clips]
    if all(side % cell == 0 for size in sizes for side in size):
        return {"do_resize": False, "cap_pixels_per_frame": False}
    most = max(height * width * len(clip) for (height, width), clip in zip(sizes, clips, strict=True))
    budget = {"shortest_edge": cell * cell, "longest_edge": 4 * most}  # wide: only the rounding is wanted
    return {"do_resize": True, "size": budget, "cap_pixels_per_frame": False}


def _slice_seconds(processor: Any, clips: Sequence[Clip]) -> torch.Tensor:
    """How long a slice of frames that share their tokens lasts, by presentation times; float32 [clips]."""
    frames = processor.video_processor.temporal_patch_size
    steps = [(clip.times[-1] - clip.times[0]) / max(len(clip) - 1, 1) for clip in clips]
    return torch.tensor([frames * step for step in steps], dtype=torch.float32)


def _metadata(clip: Clip) -> VideoMetadata:
    indices = [round(seconds * MILLISECONDS) for seconds in clip.times]
    height, width = clip.frames.shape[1:3]
    return VideoMetadata(
        total_num_frames=indices[-1] + 1, fps=MILLISECONDS, frames_indices=indices, height=height, width=width
    )


def video_inputs(model: Any, encoded: Sequence[EncodedPrompt]) -> dict[str, Any]:
    """Keyword arguments of the model for the clips of several prompts: what was seen of them, or their pixels."""
    device = unwrap(model).device
    grids = torch.cat([item.video_grid_thw for item in encoded]).to(device)
    clips = {"video_grid_thw": grids, **_seconds(encoded, device)}
    features = [item.vision for item in encoded if item.vision is not None]
    if len(features) < len(encoded):
        return {"pixel_values_videos": torch.cat([item.pixel_values_videos for item in encoded]).to(device), **clips}
    seen = SimpleNamespace(
        pooler_output=[clip.to(device) for item in features for clip in item.clips],
        deepstack_features=[
            [clip.to(device) for clips in layer for clip in clips]
            for layer in zip(*(item.deepstack for item in features), strict=True)
        ],
    )
    return {"mm_encoder_outputs": {"video": seen}, **clips}


def _seconds(encoded: Sequence[EncodedPrompt], device: torch.device) -> dict[str, torch.Tensor]:
    told = [item.second_per_grid_ts for item in encoded if item.second_per_grid_ts is not None]
    return {"second_per_grid_ts": torch.cat(told).to(device)} if told else {}


def prompt_positions(model: Any, prompt: EncodedPrompt) -> torch.Tensor:
    """Positions int64 [4, P] of a prompt: the text position, then the three of multimodal rotary embedding."""
    rope, _ = backbone(model).get_rope_index(
        prompt.input_ids[None],
        mm_token_type_ids=prompt.mm_token_type_ids[None],
        video_grid_thw=prompt.video_grid_thw,
        **({} if prompt.second_per_grid_ts is None else {"second_per_grid_ts": prompt.second_per_grid_ts}),
    )
    return torch.cat([torch.arange(len(prompt))[None], rope[:, 0].cpu()])


@torch.no_grad()
def encode_vision(model: Any, encoded: Sequence[EncodedPrompt]) -> list[EncodedPrompt]:
    """The same prompts with their `vision`, from one pass of the vision tower over the clips of each.

    Good for as long as the tower stays as it is, and for passes that need no gradient of it.
    """
    return [replace(item, vision=_vision_features(model, item)) for item in encoded]


def _vision_features(model: Any, item: EncodedPrompt) -> VisionFeatures:
    device = unwrap(model).device
    out = backbone(model).get_video_features(
        item.pixel_values_videos.to(device), item.video_grid_thw.to(device), return_dict=True
    )
    return VisionFeatures(
        tuple(out.pooler_output), tuple(tuple(layer) for layer in getattr(out, "deepstack_features", ()))
    )


def pad_left(model: Any, encoded: Sequence[EncodedPrompt], pad_token_id: int) -> PaddedPrompts:
    """Stack prompts of different lengths, padded on the left as generation wants them, with their videos."""
    width = max(len(item) for item in encoded)
    ids = torch.full((len(encoded), width), pad_token_id)
    types = torch.zeros(len(encoded), width, dtype=torch.long)
    mask = torch.zeros(len(encoded), width, dtype=torch.long)
    for row, item in enumerate(encoded):
        ids[row, width - len(item) :] = item.input_ids
        types[row, width - len(item) :] = item.mm_token_type_ids
        mask[row, width - len(item) :] = 1
    tokens = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": types}
    return PaddedPrompts(
        tokens={name: tensor.to(unwrap(model).device) for name, tensor in tokens.items()},
        videos=video_inputs(model, encoded),
    )


def unwrap(model: Any) -> Any:
    """The model below the wrapper of data-parallel training, if any."""
    return getattr(model, "module", model)


def backbone(model: Any) -> Any:
    """The module that owns the vision tower: below the language-model head, and below every wrapper."""
    inner = unwrap(model)
    return (inner.get_base_model() if hasattr(inner, "get_base_model") else inner).model


def vision_token_ids(model: Any) -> list[int]:
    """Tokens that stand for pixels: a reply that holds one would claim features which do not exist."""
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return [getattr(model.config, name) for name in names if getattr(model.config, name, None) is not None]


@dataclass(frozen=True)
class QwenPolicy:
    """A `Policy` over a model and its processor: greedy decoding, no chain of thought (paper, section 4.1)."""

    model: Any
    processor: Any
    max_new_tokens: int = 32

    @torch.inference_mode()
    def respond(self, prompts: Sequence[Prompt]) -> list[str]:
        encoded = [encode(self.processor, prompt) for prompt in prompts]
        tokenizer = self.processor.tokenizer
        batch = pad_left(self.model, encoded, tokenizer.pad_token_id)
        self.model.eval()
        out = self.model.generate(
            **batch.tokens,
            **batch.videos,
            do_sample=False,
            max_new_tokens=self.max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            suppress_tokens=vision_token_ids(self.model),
        )
        replies = out[:, batch.tokens["input_ids"].shape[1] :]
        return tokenizer.batch_decode(replies, skip_special_tokens=True)
