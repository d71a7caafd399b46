"""A real Chromium for tests of pages, driven over its DevTools protocol. Tests that need it are skipped without it."""

import base64
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage")
_KEY_CODES = {"Escape": 27, "Enter": 13, "ArrowDown": 40, "ArrowUp": 38, "End": 35, "Home": 36}
_SECONDS = 60

_LOW_CONTRAST = """(least) => {
  const channels = (colour) => [...colour.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const over = (top, under) => top.slice(0, 3).map((value, i) => value * top[3] + under[i] * (1 - top[3]));
  const behind = (element) => {
    if (!element) return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
    const own = channels(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, behind(element.parentElement));
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3);
    const own = texts.map((node) => node.textContent.trim()).join("");
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), back = behind(element);
    const colour = element.closest("svg") && style.fill !== "none" ? style.fill : style.color;
    const [one, two] = [over(channels(colour), back), back].map(light);
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < least) found.push(own.slice(0, 40) + ": " + ratio.toFixed(2));
  }
  return found;
}"""
_CUT_OFF = """() => {
  const scrolls = (element) => element && element !== document.documentElement &&
    (["auto", "scroll"].includes(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
  // Not innerWidth: a phone zooms out of a page that is too wide, and innerWidth grows with it.
  const right = (element) => element.getBoundingClientRect().right - document.documentElement.clientWidth;
  const beyond = (element) => element.checkVisibility() && right(element) > 1 && !scrolls(element);
  return [...document.querySelectorAll("body *")].filter((e) => beyond(e) && !beyond(e.parentElement))
    .map((e) => e.tagName + " " + e.className + ": " + Math.round(right(e)) + " pixels");
}"""
_SCROLLED = """() => {
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  return [...document.querySelectorAll("body *")]
    .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1 && scrolls(e))
    .map((e) => e.tagName + " " + e.className + ": " + e.scrollWidth + " of " + e.clientWidth);
}"""


class Page:
    """One page of the browser. `requests` are the URLs that it asked for, `messages` its errors and warnings."""

    def __init__(self, socket: Any, session: str) -> None:
        self._socket, self._session = socket, session
        self._numbers = itertools.count(100)
        self.requests: list[str] = []
        self.messages: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params, "sessionId": self._session}))
        while True:
            message = json.loads(self._socket.recv(timeout=_SECONDS))
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        self.run(
            f"new Promise((done, fail) => {{ const end = Date.now() + {1000 * _SECONDS // 2}; const look = () => "
            f"{{ if ({condition}) done(true); else if (Date.now() > end) fail({condition!r}); "
            "else setTimeout(look, 10); }; look(); })"
        )

    def open(self, path: Path, ready: str = "document.readyState === 'complete'") -> None:
        self.visit(path.absolute().as_uri(), ready)

    def visit(self, url: str, ready: str = "document.readyState === 'complete'") -> None:
        self.call("Page.navigate", url=url)
        self.wait_for(ready)

    def wait_for_text(self, text: str) -> None:
        """Wait until a visible text of the page contains `text`."""
        self.wait_for(f"document.body.innerText.includes({json.dumps(text)})")

    def shows_in_time(self, text: str) -> bool:
        """Whether a visible text of the page contains `text`, at once or before the usual wait is over."""
        end = time.monotonic() + _SECONDS / 2
        while time.monotonic() < end:
            if self.run(f"document.body.innerText.includes({json.dumps(text)})"):
                return True
            time.sleep(0.1)
        return False

    def click(self, selector: str, text: str = "") -> None:
        """Click the last visible element that matches `selector` and shows `text`, as soon as there is one."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        found += f".filter((e) => e.checkVisibility() && e.innerText.trim() === {json.dumps(text)})"
        self.wait_for(f"{found}.length > 0")
        self.run(f"{found}.at(-1).click()")

    def type_into(self, selector: str, text: str) -> None:
        """Type into the first element that matches `selector`."""
        self.wait_for(f"document.querySelector({json.dumps(selector)}) !== null")
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        code = _KEY_CODES.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def use_scheme(self, scheme: str) -> None:
        """`light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def low_contrast(self, least: float = 4.5) -> list[str]:
        """The visible texts whose contrast with what is behind them is below `least`, each with its contrast."""
        return self.run(f"({_LOW_CONTRAST})({least})")

    def cut_off(self) -> list[str]:
        """The elements that reach beyond the right edge of the screen and cannot be scrolled to."""
        return self.run(f"({_CUT_OFF})()")

    def scrolled(self) -> list[str]:
        """The elements that show a part of their width only, and scroll sideways to the rest."""
        return self.run(f"({_SCROLLED})()")

    def screenshot(self, path: Path, whole: bool = False) -> None:
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(params["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])


def find_chromium() -> str | None:
    """The path of Chromium, or None where it is not installed."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def open_browser(profile: Path) -> Iterator[Page]:
    """A page of a headless Chromium whose profile is in the folder `profile`."""
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium")
    connect = pytest.importorskip("websockets.sync.client").connect
    options = (*_OPTIONS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank")
    browser = subprocess.Popen([program, *options], stderr=subprocess.PIPE, text=True)
    try:
        assert browser.stderr is not None
        address = next(filter(None, (re.search(r"ws://\S+", line) for line in browser.stderr)))[0]
        with connect(address, max_size=None, proxy=None) as socket:
            yield _attach(socket)
    finally:
        browser.kill()
        browser.wait()


def _attach(socket: Any) -> Page:
    def call(number: int, method: str, params: dict[str, Any]) -> Any:
        socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (message := json.loads(socket.recv(timeout=_SECONDS))).get("id") != number:
            pass
        return message["result"]

    target = call(1, "Target.createTarget", {"url": "about:blank"})["targetId"]
    return Page(socket, call(2, "Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])
