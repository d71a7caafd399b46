"""A Qwen-VL model and its processor as a policy that answers prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from videossr.models.attention import unshareable_layer
from videossr.models.encode_prompt import encode
from videossr.models.generation import Decoding, end_token_ids, generate_branches, generate_rows
from videossr.models.model_inputs import vision_token_ids
from videossr.models.policy import Prompt


@dataclass(frozen=True)
class QwenPolicy:
    """A `Policy` with greedy decoding and no chain of thought (paper, section 4.1)."""

    model: Any
    processor: Any
    max_new_tokens: int = 32

    def respond(self, prompts: Sequence[Prompt]) -> list[str]:
        """One reply per prompt, in order."""
        tokenizer = self.processor.tokenizer
        decoding = Decoding(
            max_new_tokens=self.max_new_tokens,
            temperature=0.0,
            end_ids=end_token_ids(self.model, tokenizer),
            suppressed_ids=tuple(vision_token_ids(self.model)),
            pad_id=tokenizer.pad_token_id,
        )
        encoded = [encode(self.processor, prompt) for prompt in prompts]
        generate = generate_branches if unshareable_layer(self.model) is None else generate_rows
        replies = generate(self.model, encoded, 1, decoding)
        return tokenizer.batch_decode(replies, skip_special_tokens=True)
