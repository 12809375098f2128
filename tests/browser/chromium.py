"""A headless Chromium, controlled by its DevTools protocol over a pipe, without a driver, a port, or a library."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import F_DUPFD_CLOEXEC, fcntl
from pathlib import Path

import axe_core_python

AXE = Path(axe_core_python.__file__).with_name("axe.min.js")
NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OPTIONS += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
OPTIONS += ["--remote-debugging-pipe"]
# Rules of axe whose result depends on colours and on the width; the others read the same document again.
OF_THE_LOOK = ["color-contrast", "link-in-text-block", "scrollable-region-focusable"]


def found() -> str | None:
    """Return the path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """A browser with one open page; `events` are those since the page was opened."""

    def __init__(self, to: int, answers: int) -> None:
        self.to, self.answers = to, os.fdopen(answers, "rb")
        self.rest, self.last, self.session, self.events = b"", 0, None, []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: object) -> dict:
        """Send a command; return its result."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != self.last:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def read(self) -> dict:
        """Return the next message."""
        while b"\0" not in self.rest:
            piece = self.answers.read1()
            assert piece, "the browser has ended"
            self.rest += piece
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path) -> None:
        """Open a file, and wait until it is loaded."""
        self.visit(path.resolve().as_uri())

    def visit(self, address: str) -> None:
        """Open an address, and wait until it is loaded."""
        self.events.clear()
        self.send("Page.navigate", url=address)
        self.loaded()

    def loaded(self) -> None:
        """Wait until a page is loaded."""
        while not any(each.get("method") == "Page.loadEventFired" for each in self.events):
            self.events.append(self.read())

    def press(self, key: str) -> None:
        """Press and release a key: Tab, Enter, or one that writes itself."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        text = {"Tab": "", "Enter": "\r"}.get(key, key)
        down = {"key": key, "windowsVirtualKeyCode": codes[key], "text": text}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **down)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=codes[key])

    def type(self, text: str) -> None:
        """Write into the field that has the focus."""
        self.send("Input.insertText", text=text)

    def submit(self) -> None:
        """Press Enter on the button that has the focus, and wait for the next page."""
        self.events.clear()
        self.press("Enter")
        self.loaded()

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file in a field, and wait until the page has read it."""
        found = self.send("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self.send("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])
        self("new Promise((done) => setTimeout(done, 100))")

    def told(self, method: str) -> list[dict]:
        """Return the parameters of all events of one kind."""
        self("0")
        return [each["params"] for each in self.events if each.get("method") == method]

    def __call__(self, expression: str) -> object:
        """Return the value of a JavaScript expression; that of a promise when it is fulfilled."""
        done = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def look(self, width: int, dark: bool = False, media: str = "") -> None:
        """Set the width of the window, the colour scheme and the media type."""
        phone = width < 600
        size = {"width": width, "height": 900, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", media=media, features=scheme)

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def printed(self) -> bytes:
        """Return the page as PDF."""
        return base64.b64decode(self.send("Page.printToPDF", preferCSSPageSize=True)["data"])


def pipe() -> list[int]:
    """Return the two ends of a new pipe, with descriptors of 10 or more, since the browser needs 3 and 4."""
    ends = os.pipe()
    moved = [fcntl(each, F_DUPFD_CLOEXEC, 10) for each in ends]
    for each in ends:
        os.close(each)
    return moved


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """Start a browser with a new profile in `folder`, and stop it at the end."""
    (theirs_in, ours_out), (ours_in, theirs_out) = pipe(), pipe()
    # The browser reads from descriptor 3 and writes to 4.
    command = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", found(), *OPTIONS]
    command.append(f"--user-data-dir={folder}")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), **quiet)
    for each in (theirs_in, theirs_out):
        os.close(each)
    try:
        yield Chromium(ours_out, ours_in)
    finally:
        process.terminate()
        process.wait()
        os.close(ours_out)


def accessible(browser: Chromium, *rules: str) -> list:
    """Return what axe finds wrong with the page that is open, by these of its rules or by all."""
    if browser("typeof axe") == "undefined":
        browser(AXE.read_text(encoding="utf-8"))
    found = "(found) => found.violations.map((each) => [each.id, each.nodes[0].html])"
    # A figure is an image with a name: its thousands of elements say nothing to a reader.
    where, options = {"exclude": [["svg > *"]]}, {"runOnly": list(rules)} if rules else {}
    return browser(f"axe.run({json.dumps(where)}, {json.dumps(options)}).then({found})")


def accessible_light_and_dark(browser: Chromium) -> list:
    """Return what axe finds wrong with the page on a light screen, and then on a phone in the dark."""
    browser.look(1200)
    wrong = accessible(browser)
    browser.look(390, dark=True)
    return wrong + accessible(browser, *OF_THE_LOOK)
