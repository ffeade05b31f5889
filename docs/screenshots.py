"""Make the screenshots of the README from the running stack: ``make screenshots``.

Debian's Chromium is driven headless over the DevTools protocol, so that no browser is downloaded. The stack must be
up (``make demo`` first, so that there is something to see).
"""

from __future__ import annotations

import base64
import functools
import io
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from include.core.errors import LifecycleError
from include.stack.api import AirflowApi
from include.stack.layout import Layout

TARGET = Path(__file__).parent / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1280, 760
MAX_BYTES = 250_000
START_S, PAGE_S = 60, 60
_GRID_IS_THERE = "document.body.innerText.includes('await_inputs') && document.querySelector('canvas') !== null"
# the card begins with names and digests; its figures are what a reader wants to see
_CARD_FROM = (
    "(() => { const heading = [...document.querySelectorAll('h2')].find(h => h.innerText === 'Performance'); "
    "heading?.scrollIntoView(); return heading !== undefined; })()"
)


@dataclass
class Page:
    """One tab of the browser, over its DevTools socket."""

    socket: ClientConnection
    _sent: int = field(default=0)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a DevTools command and return its result; events in between are dropped."""
        self._sent += 1
        self.socket.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            reply = json.loads(self.socket.recv(timeout=PAGE_S))
            if reply.get("id") == self._sent:
                if "error" in reply:
                    raise LifecycleError(f"Chromium refused {method}: {reply['error']['message']}")
                return dict(reply["result"])

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, url: str, until: str) -> None:
        """Load ``url`` and poll until the JavaScript expression ``until`` is true, then let the page settle.

        Raises:
            LifecycleError: the page did not come to that within a minute.
        """
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + PAGE_S
        while not self.evaluate(until):
            if time.monotonic() > deadline:
                raise LifecycleError(f"{url} did not show what was expected ({until}) within {PAGE_S} s")
            time.sleep(0.5)
        time.sleep(3)  # animations, and requests that follow the first ones

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Drag with the left button from ``start`` to ``end`` (pixels), then move the pointer out of the way."""
        for kind, (x, y), pressed in (
            ("mouseMoved", start, 0),
            ("mousePressed", start, 1),
            ("mouseMoved", end, 1),
            ("mouseReleased", end, 0),
            ("mouseMoved", (30, HEIGHT - 200), 0),
        ):
            button = "left" if kind in ("mousePressed", "mouseReleased") or pressed else "none"
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=pressed, clickCount=1)
        time.sleep(2)  # the page draws itself again

    def save(self, path: Path) -> None:
        """Write the visible part of the page as a PNG of at most 128 colours."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        image = Image.open(io.BytesIO(data)).convert("RGB").quantize(colors=128, dither=Image.Dither.NONE)
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, optimize=True)
        size = path.stat().st_size
        print(f"{path}: {size // 1000} kB")
        if size > MAX_BYTES:
            raise LifecycleError(f"{path} has {size:,} bytes, more than {MAX_BYTES:,}; choose a plainer page")


@contextmanager
def browser() -> Iterator[Page]:
    """Start a headless Chromium with an empty profile and give its first tab.

    Raises:
        LifecycleError: there is no Chromium, or it does not start.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise LifecycleError("no Chromium was found; install it (Debian, Ubuntu: apt-get install chromium)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        options += ["--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [program, *options, f"--window-size={WIDTH},{HEIGHT}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(_tab(Path(profile) / "DevToolsActivePort", process), max_size=None) as socket:
                page = Page(socket)
                page.call(
                    "Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False
                )
                yield page
        finally:
            process.terminate()
            process.wait(timeout=30)


def _tab(port_file: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the DevTools address of the first tab, once the browser has written its port."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists() and (lines := port_file.read_text(encoding="utf-8").splitlines()):
            tabs = httpx.get(f"http://127.0.0.1:{lines[0]}/json/list", trust_env=False).json()
            pages = [tab for tab in tabs if tab["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.2)
    raise LifecycleError(f"Chromium did not start within {START_S} s; start it by hand to see why: chromium --headless")


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback for as long as the pictures are taken; gives its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the terminal shows the pictures that were made."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def _token(api: AirflowApi) -> str:
    """Log in to Airflow and return the token that its pages expect in a cookie."""
    login = {"username": api.username, "password": api.password}
    try:
        reply = httpx.post(f"{api.url}/auth/token", json=login, timeout=60, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise LifecycleError(f"Airflow does not answer at {api.url} ({error}); run: make demo") from error
    return str(reply.json()["access_token"])


def _newest_card(reports: Path) -> Path:
    """Return the newest model card.

    Raises:
        LifecycleError: no model has been trained yet.
    """
    cards = sorted(reports.glob("model_cards/**/model_card.html"), key=lambda path: path.stat().st_mtime)
    if not cards:
        raise LifecycleError(f"no model card below {reports}; run: make demo")
    return cards[-1]


def main() -> int:
    """Make every picture; return the exit status."""
    layout = Layout.from_environ()
    try:
        api = AirflowApi.from_layout(layout)
        card = _newest_card(layout.home / "reports")
        with browser() as page:
            page.call("Network.setCookie", name="_token", value=_token(api), url=layout.airflow_url)
            page.open(f"{layout.airflow_url}/dags/flights_score", _GRID_IS_THERE)
            # the grid has room for two runs of the week: pull the line between it and the overview to the right
            page.drag((315, 600), (460, 600))
            page.save(TARGET / "airflow.png")
            with _served(card.parent) as address:
                page.open(f"{address}/{card.name}", "document.readyState === 'complete'")
                if not page.evaluate(_CARD_FROM):
                    raise LifecycleError(f"{card} has no section Performance; scroll to another in docs/screenshots.py")
                page.save(TARGET / "model_card.png")
    except (LifecycleError, OSError) as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
