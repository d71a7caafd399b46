"""A Qwen-VL model and its processor as a policy that answers prompts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from videossr.models.attention import unshareable_layer
from videossr.models.encode_prompt import encode, encode_about_same_videos
from videossr.models.generation import (
    Decoding,
    end_token_ids,
    generate_about_same_videos,
    generate_branches,
    generate_rows,
)
from videossr.models.model_inputs import vision_token_ids
from videossr.models.policy import Prompt
from videossr.records import VIDEO_MARKER


@dataclass(frozen=True)
class QwenPolicy:
    """A `Policy` with greedy decoding and no chain of thought (paper, section 4.1)."""

    model: Any
    processor: Any
    max_new_tokens: int = 32

    @property
    def settings(self) -> dict[str, Any]:
        """What besides weights and prompts decides its replies: how it decodes, and in which precision it computes."""
        return {"temperature": 0.0, "dtype": str(self.model.dtype).removeprefix("torch.")}

    def respond(self, prompts: Sequence[Prompt]) -> list[str]:
        """One reply per prompt, in order. Prompts about the same clips share one reading of them."""
        replies: dict[int, str] = {}
        alone: list[int] = []
        can_share = unshareable_layer(self.model) is None
        for places in _same_videos(prompts):
            if can_share and len(places) > 1:
                together = [prompts[place] for place in places]
                encoded = encode_about_same_videos(self.processor, together)
                rows = generate_about_same_videos(self.model, encoded, self._decoding(together))
                replies |= zip(places, self._texts(together, rows), strict=True)
            else:
                alone += places
        if alone:
            generate = generate_branches if can_share else generate_rows
            single = [prompts[place] for place in alone]
            encoded = [encode(self.processor, prompt) for prompt in single]
            rows = generate(self.model, encoded, 1, self._decoding(single))
            replies |= zip(alone, self._texts(single, rows), strict=True)
        return [replies[place] for place in range(len(prompts))]

    def _decoding(self, prompts: Sequence[Prompt]) -> Decoding:
        return Decoding(
            max_new_tokens=max(map(self._limit, prompts)),
            temperature=0.0,
            end_ids=end_token_ids(self.model, self.processor.tokenizer),
            suppressed_ids=tuple(vision_token_ids(self.model)),
            pad_id=self.processor.tokenizer.pad_token_id,
        )

    def _limit(self, prompt: Prompt) -> int:
        return prompt.reply_tokens or self.max_new_tokens

    def _texts(self, prompts: Sequence[Prompt], rows: Any) -> list[str]:
        kept = [row[: self._limit(prompt)] for prompt, row in zip(prompts, rows.tolist(), strict=True)]
        return list(self.processor.tokenizer.batch_decode(kept, skip_special_tokens=True))


def _same_videos(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Places of the prompts that begin alike: the same clips, system prompt, and text up to the last video."""
    places = defaultdict(list)
    for place, prompt in enumerate(prompts):
        head = prompt.text.rpartition(VIDEO_MARKER)[0]
        places[prompt.system, head, tuple(map(id, prompt.clips))].append(place)
    return list(places.values())
