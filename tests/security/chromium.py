"""Looking at a page with Chromium: what it shows, and whether a script from the data ran in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from docs.screenshots import BROWSERS, Page, browser
from tests.waiting import until

RAN = "window.planted"
"""JavaScript name that every planted script sets; no page of ours knows it."""
PLANTED = (
    f'"><svg onload="{RAN}=1">',
    f"</script><script>{RAN}=2</script>",
    f"<img src=x onerror='{RAN}=3'>",
)
"""Values that leave an attribute, a script and a text, and then run."""
REFUSED = "window.refused || []"
"""JavaScript for the directives by which the page's policy has refused something."""
_WATCH = """
window.refused = [];
addEventListener('securitypolicyviolation', event => refused.push(event.effectiveDirective));
"""
_ONE_TURN = "new Promise(done => setTimeout(() => setTimeout(done)))"


@contextmanager
def chromium() -> Iterator[Page]:
    """Give a tab of Chromium; skip the test where there is none."""
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed, and only a browser shows whether a script runs")
    with browser() as page:
        page.call("Page.enable")
        page.call("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
        yield page


def look(page: Page, address: str | Path, shown: str = "true") -> None:
    """Open a page and wait until it is loaded and the JavaScript expression ``shown`` is true."""
    where = address.as_uri() if isinstance(address, Path) else address
    page.call("Page.navigate", url=where)
    # until the new page has begun, the old one answers
    there = f"document.URL.startsWith({where!r}) && document.readyState === 'complete' && Boolean({shown})"
    until(lambda: page.evaluate(there), f"{where} with {shown}", 0.2)


def ran(page: Page) -> bool:
    """Return whether a planted script has run in the page."""
    # handlers of pictures that could not be loaded are called in the next turn of the page's loop
    page.call("Runtime.evaluate", expression=_ONE_TURN, awaitPromise=True)
    return bool(page.evaluate(f"{RAN} !== undefined"))
