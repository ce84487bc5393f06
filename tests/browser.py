"""A page in headless Chromium, driven as a user does: clicks, keys, the width of the window, light or dark.

Chromium is asked through the pipe of its DevTools protocol: JSON, ended by a zero byte, on file descriptors 3 and 4.
"""

import base64
import json
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ADVICE = "no Chromium here, in which the page is looked at: apt-get install chromium"


class Browser:
    """One page. ``problems`` holds what its console said, ``requests`` what it asked to load."""

    def __init__(self, folder):
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
            f"--user-data-dir={folder}", "about:blank",
        ]  # fmt: skip
        moved = 'exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>&2'
        command = ["sh", "-c", moved, CHROMIUM, *options]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0)
        self._rest, self._number, self._session = b"", 0, None
        self.problems, self.requests = [], []
        (page,) = [t for t in self._ask("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        self._session = self._ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def close(self):
        self._ask("Browser.close")
        self._process.wait(20)
        self._process.stdin.close()
        self._process.stdout.close()

    def window(self, width, height=1000, *, dark=False):
        """A window of this size, in light or dark."""
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, path):
        """Opens a file."""
        self._ask("Page.navigate", url=path.absolute().as_uri())
        while self.run("document.readyState") != "complete" or self.run("location.href") == "about:blank":
            pass

    def run(self, code):
        """The value of an expression."""
        answer = self._ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"]["exception"].get("description", code))
        return answer["result"].get("value")

    def texts(self, selector):
        """What the elements say."""
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)")

    def click(self, selector, number=0):
        """Clicks into the middle of an element, scrolled to where it can be seen."""
        found = f"document.querySelectorAll({json.dumps(selector)})[{number}]"
        box = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2]; }})({found})"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def press(self, *keys):
        """Presses keys, such as ArrowDown, Enter, Tab."""
        codes = {"ArrowDown": 40, "ArrowUp": 38, "Enter": 13, "Tab": 9, "End": 35, "Home": 36}
        for key in keys:
            about = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
            about |= {"text": "\r"} if key == "Enter" else {}
            self._ask("Input.dispatchKeyEvent", type="keyDown", **about)
            self._ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def choose(self, selector, value):
        """Chooses an option of a select, or writes into a field."""
        told = "".join(f"e.dispatchEvent(new Event('{kind}', {{bubbles: true}}));" for kind in ("input", "change"))
        found = f"document.querySelector({json.dumps(selector)})"
        self.run(f"(e => {{ e.value = {json.dumps(value)}; {told} }})({found})")

    def picture(self, path, *, whole=False):
        """Keeps what is seen as PNG; or the whole page."""
        answer = self._ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _ask(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event):
        about = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(about["exceptionDetails"])
        elif event.get("method") == "Log.entryAdded":
            self.problems.append(about["entry"]["text"])

    def _read(self):
        while b"\0" not in self._rest:
            more = self._process.stdout.read(1 << 16)
            if not more:
                raise AssertionError("Chromium has ended")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A browser for pages in files; tests are skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip(ADVICE)
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()
