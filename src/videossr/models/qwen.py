"""A Qwen-VL model and its processor as a policy that answers prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from videossr.models.encode_prompt import encode
from videossr.models.model_inputs import pad_left, vision_token_ids
from videossr.models.policy import Prompt


@dataclass(frozen=True)
class QwenPolicy:
    """A `Policy` with greedy decoding and no chain of thought (paper, section 4.1)."""

    model: Any
    processor: Any
    max_new_tokens: int = 32

    @torch.inference_mode()
    def respond(self, prompts: Sequence[Prompt]) -> list[str]:
        """One reply per prompt, in order."""
        encoded = [encode(self.processor, prompt) for prompt in prompts]
        tokenizer = self.processor.tokenizer
        padded = pad_left(self.model, encoded, tokenizer.pad_token_id)
        self.model.eval()
        out = self.model.generate(
            **padded.tokens,
            **padded.videos,
            do_sample=False,
            max_new_tokens=self.max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            suppress_tokens=vision_token_ids(self.model),
        )
        replies = out[:, padded.tokens["input_ids"].shape[1] :]
        return tokenizer.batch_decode(replies, skip_special_tokens=True)
