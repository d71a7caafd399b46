"""A policy behind a server: what is sent, and what becomes of servers that fail in every way."""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
import pytest

from tests.evaluation.downstream.test_run import answer, load_made
from videossr.clip import Clip
from videossr.errors import PolicyError
from videossr.evaluation.benchmarks import score
from videossr.evaluation.downstream import open_policy
from videossr.evaluation.downstream.endpoint import EndpointPolicy, open_endpoint
from videossr.models.policy import FailedReply, Prompt

Answer = tuple[int, dict[str, str], bytes]
CLIP = Clip(np.full((3, 32, 64, 3), 90, np.uint8), np.array([0.0, 0.5, 1.25]))
PROMPT = Prompt("Look: <video>What?", (CLIP,), "Be brief.", 7)


def completion(content: Any) -> Answer:
    return 200, {}, json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


class Server(ThreadingHTTPServer):
    """Answers the n-th chat request with `behaviour(n, body)`; keeps the requests."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, behaviour: Callable[[int, dict[str, Any]], Answer], models: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour, self.models = behaviour, models
        self.requests: list[dict[str, Any]] = []
        self.running = self.most_running = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:  # noqa: N802 (the name is that of http.server)
        self._send((200, {}, json.dumps({"data": [{"id": name} for name in self.server.models]}).encode()))

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.requests)
            self.server.requests.append(body)
            self.server.running += 1
            self.server.most_running = max(self.server.most_running, self.server.running)
        reply = self.server.behaviour(number, body)
        with self.server.lock:
            self.server.running -= 1
        self._send(reply)

    def _send(self, reply: Answer) -> None:
        status, headers, body = reply
        try:
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has given up

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(behaviour: Callable[[int, dict[str, Any]], Answer], models: list[str] | None = None) -> Iterator[Server]:
    server = Server(behaviour, ["tiny"] if models is None else models)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def test_a_request_has_the_system_prompt_the_times_and_the_frames_in_their_place():
    with serving(lambda number, body: completion("  a reply\n")) as server:
        assert EndpointPolicy(server.url, "tiny").respond([PROMPT]) == ["  a reply\n"]
        (request,) = server.requests
    assert request["model"] == "tiny" and request["temperature"] == 0.0 and request["max_tokens"] == 7
    system, user = request["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert [part.get("text", "picture") for part in user["content"]] == [
        *("Look: ", "<0.0 seconds>", "picture", "<0.5 seconds>", "picture", "<1.2 seconds>", "picture", "What?")
    ]
    kind, _, data = user["content"][2]["image_url"]["url"].partition(",")
    frame = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert kind == "data:image/jpeg;base64" and frame.shape == (32, 64, 3) and abs(int(frame.mean()) - 90) <= 1


def test_replies_are_in_the_order_of_the_prompts_and_requests_at_the_same_time():
    def slow(number: int, body: dict[str, Any]) -> Answer:
        time.sleep(0.15 if "0" in body["messages"][-1]["content"][0]["text"] else 0.05)
        return completion(body["messages"][-1]["content"][0]["text"])

    with serving(slow) as server:
        prompts = [Prompt(f"question {i}", ()) for i in range(8)]
        assert EndpointPolicy(server.url, "tiny", concurrency=4).respond(prompts) == [p.text for p in prompts]
        assert 2 <= server.most_running <= 4


def test_a_busy_server_is_asked_again_when_it_says_so():
    def busy(number: int, body: dict[str, Any]) -> Answer:
        return (429, {"Retry-After": "0.3"}, b"{}") if number < 2 else completion("A")

    with serving(busy) as server:
        start = time.monotonic()
        assert EndpointPolicy(server.url, "tiny").respond([PROMPT]) == ["A"]
        assert len(server.requests) == 3 and time.monotonic() - start > 0.6


FAILURES: dict[str, tuple[Callable[[], Answer], str]] = {
    "busy": (lambda: (429, {"Retry-After": "0.01"}, b'{"error": {"message": "slow down"}}'), "status 429"),
    "broken": (lambda: (500, {"Retry-After": "0.01"}, b"oops"), "status 500"),
    "refused": (lambda: (400, {}, b'{"error": {"message": "the prompt is too long"}}'), "status 400: .*too long"),
    "text": (lambda: (200, {}, b"<html>hello</html>"), "no chat completion: '<html>"),
    "half": (lambda: (200, {}, b'{"choices": [{"mess'), "no chat completion"),
    "bytes": (lambda: (200, {}, b"\xff\xfe\x00"), "no chat completion"),
    "empty": (lambda: (200, {}, b""), "no chat completion"),
    "other": (lambda: (200, {}, b'{"choices": []}'), "no chat completion"),
    "list": (lambda: completion([{"type": "text"}]), "the reply is no text"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_counted_and_the_other_questions_have_their_replies(made, tmp_path, name):
    failure, message = FAILURES[name]
    items, found = load_made(made, "videomme")

    def sometimes(number: int, body: dict[str, Any]) -> Answer:
        text = body["messages"][-1]["content"][-1]["text"]
        return failure() if "comes first" in text else completion("A")

    with serving(sometimes) as server:
        policy = EndpointPolicy(server.url, "tiny", retries=1)
        answers = answer(policy, (items, found), tmp_path)
    assert len(answers.errors) == len(answers.replies) == 6
    counts = score(items, answers.for_scoring, num_resamples=10).counts
    assert counts.failed == 6 and counts.asked == counts.questions == 12
    for error in answers.errors.values():
        assert re.search(message, error)


def test_a_server_that_hangs_is_given_up(made):
    def hang(number: int, body: dict[str, Any]) -> Answer:
        time.sleep(1.0)
        return completion("A")

    with serving(hang) as server:
        (reply,) = EndpointPolicy(server.url, "tiny", timeout_seconds=0.2, retries=0).respond([PROMPT])
    assert isinstance(reply, FailedReply) and "timed out" in reply.error.lower()


def test_a_server_that_has_gone_is_a_failure_of_its_questions():
    with serving(lambda number, body: completion("A")) as server:
        url = server.url
    (reply,) = EndpointPolicy(url, "tiny", retries=1).respond([PROMPT])
    assert isinstance(reply, FailedReply) and "APIConnectionError" in reply.error


@pytest.mark.parametrize(("content", "expected"), [("", ""), (None, ""), ("<|video_pad|>", "<|video_pad|>")])
def test_a_model_that_says_nothing_has_answered(content, expected):
    with serving(lambda number, body: completion(content)) as server:
        assert EndpointPolicy(server.url, "tiny").respond([PROMPT]) == [expected]


@pytest.mark.parametrize("status", [401, 404])
def test_what_every_question_would_meet_stops_with_one_sentence(status):
    body = b'{"error": {"message": "no such model"}}'
    with (
        serving(lambda number, _: (status, {}, body)) as server,
        pytest.raises(PolicyError, match="refuses the model 'other' .* check the address, the model and the key"),
    ):
        EndpointPolicy(server.url, "other").respond([PROMPT])


def test_an_endpoint_by_name(made):
    with serving(lambda number, body: completion("A")) as server:
        named = open_policy(f"endpoint:{server.url}")
        assert named.policy == EndpointPolicy(server.url, "tiny") and "tiny" in named.policy_id
        assert open_policy(f"endpoint:{server.url}#big").policy == EndpointPolicy(server.url, "big")
        blind = open_policy(f"blind:endpoint:{server.url}")
        assert blind.policy_id != named.policy_id and blind.policy.respond([PROMPT]) == ["A"]
    with pytest.raises(PolicyError, match="must list its models"):
        open_endpoint(server.url)
    with (
        serving(lambda number, body: completion("A"), ["a", "b"]) as server,
        pytest.raises(PolicyError, match=r"must be named, it has 2 \(a, b\): endpoint:URL#MODEL"),
    ):
        open_policy(f"endpoint:{server.url}")
    with pytest.raises(PolicyError, match="an endpoint must be an address such as"):
        open_policy("endpoint:localhost:8000")
