"""A policy behind an OpenAI-compatible server (vLLM, SGLang, `transformers serve`): frames as pictures, times as text.

The library `openai` sends the requests; it waits and tries again where a server is busy (429), fails (5xx), hangs or
cannot be reached. What then still fails is a `FailedReply`, which the evaluator counts.
"""

import base64
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from videossr.clip import Clip
from videossr.errors import PolicyError
from videossr.frames.encoding import encode_jpeg
from videossr.models.policy import FailedReply, Prompt
from videossr.records import VIDEO_MARKER

if TYPE_CHECKING:
    from openai import OpenAI

KEY_VARIABLE = "OPENAI_API_KEY"
_STOPPING = (401, 403, 404)  # the same for every question: a wrong key, model or path
_SHOWN = 120  # characters of a server's message


@dataclass(frozen=True)
class EndpointPolicy:
    """Replies of `model` at `url` (`http://host:port/v1`), greedy, up to `concurrency` questions at a time.

    A request is given up after `timeout_seconds` without an answer, and tried `retries` times more with growing pauses,
    or those that the server asks for. The key is read from the environment variable OPENAI_API_KEY. `respond` raises
    PolicyError where the server refuses every question: a wrong key, model or path.
    """

    url: str
    model: str
    concurrency: int = 8
    timeout_seconds: float = 120.0
    retries: int = 4
    max_new_tokens: int = 128

    @property
    def settings(self) -> dict[str, Any]:
        """What besides model and prompts decides its replies."""
        return {"temperature": 0.0, "frames_as": "jpeg"}

    def respond(self, prompts: Sequence[Prompt]) -> list[str | FailedReply]:
        """One reply or failure per prompt, in order."""
        with _client(self.url, self.timeout_seconds, self.retries) as client, self._threads() as threads:
            return list(threads.map(lambda prompt: self._ask(client, prompt), prompts))

    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.concurrency)

    def _ask(self, client: "OpenAI", prompt: Prompt) -> str | FailedReply:
        from openai import APIError, APIStatusError

        try:
            response = client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=chat_messages(prompt),  # type: ignore[arg-type]  # typed dictionaries of the same form
                max_tokens=prompt.reply_tokens or self.max_new_tokens,
                temperature=0.0,
            )
        except APIStatusError as error:
            if error.status_code in _STOPPING:
                raise PolicyError(
                    f"{self.url} refuses the model '{self.model}' ({_first_line(error)}): check the address, the model "
                    f"and the key in {KEY_VARIABLE}"
                ) from None
            return FailedReply(f"status {error.status_code}: {_first_line(error)}")
        except APIError as error:
            return FailedReply(f"{type(error).__name__}: {_first_line(error)}")
        return _reply_text(response.text)


def open_endpoint(url: str, model: str = "", **settings: Any) -> EndpointPolicy:
    """The policy at an address; without `model`, that of the server where it has one alone.

    Raises PolicyError where the address is none, no such server is there, or the model is not known.
    """
    if not url.startswith(("http://", "https://")):
        raise PolicyError(f"an endpoint must be an address such as http://127.0.0.1:8000/v1, got '{url}'")
    models = [] if model else _list_models(url)
    if not model and len(models) != 1:
        raise PolicyError(
            f"the model of {url} must be named, it has {len(models)} ({', '.join(models[:5])}): endpoint:URL#MODEL"
        )
    return EndpointPolicy(url, model or models[0], **settings)


def _list_models(url: str) -> list[str]:
    from openai import APIError

    try:
        with _client(url, timeout_seconds=10.0, retries=1) as client:
            content = json.loads(client.models.with_raw_response.list().text)
        return [str(entry["id"]) for entry in content["data"]]
    except (APIError, ValueError, KeyError, TypeError) as error:
        raise PolicyError(
            f"{url} must list its models as an OpenAI-compatible server does, it does not ({_first_line(error)}): "
            "start the server, or name the model: endpoint:URL#MODEL"
        ) from None


def chat_messages(prompt: Prompt) -> list[dict[str, Any]]:
    """The prompt as messages: at the place of a clip, the time of each frame as text and the frame as a picture."""
    pieces = prompt.text.split(VIDEO_MARKER)
    content = [{"type": "text", "text": pieces[0]}] if pieces[0] else []
    for clip, piece in zip(prompt.clips, pieces[1:], strict=True):
        content += _frames(clip)
        content += [{"type": "text", "text": piece}] if piece else []
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*system, {"role": "user", "content": content}]


def _frames(clip: Clip) -> Iterator[dict[str, Any]]:
    for seconds, frame in zip(clip.times.tolist(), clip.frames, strict=True):
        data = base64.b64encode(encode_jpeg(frame)).decode()
        yield {"type": "text", "text": f"<{seconds:.1f} seconds>"}
        yield {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}


def _client(url: str, timeout_seconds: float, retries: int) -> "OpenAI":
    from openai import OpenAI

    key = os.environ.get(KEY_VARIABLE, "none")  # a local server needs no key, the library does
    return OpenAI(base_url=url, api_key=key, timeout=timeout_seconds, max_retries=retries)


def _reply_text(body: str) -> str | FailedReply:
    """The reply in the body of a response; a failure where the body is not of the protocol."""
    try:
        reply = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return FailedReply(f"the server's answer is no chat completion: {body[:_SHOWN]!r}")
    if reply is None:
        return ""  # a model that says nothing: an answer without a label, and no failure
    return reply if isinstance(reply, str) else FailedReply(f"the reply is no text: {reply!r:.{_SHOWN}}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:_SHOWN]
