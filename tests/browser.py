"""A real headless browser for tests of pages: what is on the screen, and a picture of it."""

import base64
import contextlib
import json
import shutil
import subprocess
import time
from urllib.request import urlopen

import pytest
from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-port=0",
]


class Page:
    """One tab, spoken to by the DevTools protocol."""

    def __init__(self, socket_url):
        self._loop = IOLoop(make_current=False)
        self._calls = 0
        self.events = []
        """What the browser told meanwhile: method and parameters."""
        self._socket = self._wait(lambda: websocket_connect(socket_url, max_message_size=2**26))

    def _wait(self, start):
        async def run():
            return await start()

        return self._loop.run_sync(run, timeout=60)

    def call(self, method, **params):
        """A command and its answer."""
        self._calls += 1
        number = self._calls

        async def exchange():
            await self._socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
            while True:
                answer = json.loads(await self._socket.read_message())
                if answer.get("id") == number:
                    return answer
                self.events.append(answer)

        answer = self._loop.run_sync(exchange, timeout=60)
        assert "error" not in answer, answer
        return answer["result"]

    def evaluate(self, expression):
        """The value of a JavaScript expression."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def text(self):
        """All text on the page, also that inside of shadow roots."""
        found = self.evaluate(
            "(function walk(n){let t='';for(const c of n.childNodes){if(c.nodeType===3)t+=c.data+' ';"
            "else if(c.nodeName!=='STYLE'&&c.nodeName!=='SCRIPT'){if(c.shadowRoot)t+=walk(c.shadowRoot);"
            "t+=walk(c)}}return t})(document.body)"
        )
        return found or ""  # there is no body yet

    def wait_for(self, words, seconds=30):
        """Wait until the page shows some words; returns all of its text."""
        deadline = time.monotonic() + seconds
        while words not in (shown := self.text()):
            assert time.monotonic() < deadline, f"{words!r} is not in {shown!r}"
            time.sleep(0.1)
        return shown

    def screenshot(self, path):
        """Write a PNG of what is on the screen."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        """Close the connection."""

        async def close():
            self._socket.close()

        self._loop.run_sync(close)
        self._loop.close()


@contextlib.contextmanager
def open_page(url, folder, *, width=1320, height=900):
    """The page at ``url`` in a browser of its own; skips the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium is installed (Debian: apt install chromium)")
    size = f"--window-size={width},{height}"
    process = subprocess.Popen(
        [program, *FLAGS, size, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        page = Page(_socket_of(folder / "DevToolsActivePort"))
        try:
            page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                      mobile=False)  # fmt: skip
            page.call("Page.navigate", url=url)
            yield page
        finally:
            page.close()
    finally:
        process.kill()
        process.wait()


def _socket_of(file, seconds=60):
    deadline = time.monotonic() + seconds
    while not file.exists() or "\n" not in file.read_text():
        assert time.monotonic() < deadline, "the browser does not start"
        time.sleep(0.05)
    port = file.read_text().split()[0]
    while True:
        with urlopen(f"http://127.0.0.1:{port}/json", timeout=20) as answer:
            pages = [tab for tab in json.load(answer) if tab["type"] == "page"]
        if pages:
            return pages[0]["webSocketDebuggerUrl"]
        assert time.monotonic() < deadline, "the browser opens no tab"
        time.sleep(0.05)
