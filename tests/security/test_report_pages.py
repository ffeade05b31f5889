"""Scripts that arrive as data: no page that a person opens runs them, from the disk or from a server."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from docs.screenshots import Page
from include.core.errors import LifecycleError
from include.monitoring import drift, drift_report
from include.spec.monitoring import DriftSpec
from include.steps.workspace import Workspace
from tests.security.chromium import PLANTED, RAN, REFUSED, chromium, look, ran
from tests.security.hostile_lake import hostile_chain
from tests.waiting import until

EXPAND = "[...document.querySelectorAll('td button')].forEach(button => button.click())"
SENDS = (
    "fetch('/api/v2/dags').then(() => 'sent', () => 'refused')",
    "fetch('/api/v2/dags', {method: 'PATCH', body: '{}'}).then(() => 'sent', () => 'refused')",
    "new Promise(done => { const picture = new Image(); picture.onload = () => done('sent'); "
    "picture.onerror = () => done('refused'); picture.src = '/api/picture.png'; })",
    "new Promise(done => { const form = document.createElement('form'); "
    "form.method = 'POST'; form.action = '/api/form'; "
    "document.addEventListener('securitypolicyviolation', () => done('refused')); "
    "document.body.append(form); form.submit(); })",
)
PLOTS = "document.querySelectorAll('svg.main-svg').length"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return hostile_chain(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as tab:
        yield tab


@pytest.mark.parametrize("planted", PLANTED)
def test_the_planted_scripts_run_where_nothing_stops_them(page: Page, tmp_path: Path, planted: str) -> None:
    """Else the tests below could not fail."""
    file = tmp_path / "open.html"
    file.write_text(f'<html><body><p title="{planted}">{planted}</p><script>let text = "{planted}";</script>')
    look(page, file)
    assert ran(page)


def test_the_drift_page_of_a_hostile_source_draws_and_runs_nothing(page: Page, hostile: Workspace) -> None:
    """A category `"><svg onload=...>` ran in the Evidently page."""
    (report,) = Path(hostile.settings.reports_root).glob("drift/**/report.html")
    assert "svg onload" in report.read_text(encoding="utf-8")
    look(page, report, "document.querySelectorAll('td button').length")
    page.evaluate(EXPAND)
    until(lambda: page.evaluate(f"{PLOTS} > 0"), "the plots of the columns", 0.2)
    names = page.evaluate("[...document.querySelectorAll('svg text')].map(text => text.textContent).join('\\n')")
    assert "svg onload" in names, "the carriers are drawn"
    assert not ran(page)


def test_no_report_of_a_hostile_source_runs_a_script(page: Page, hostile: Workspace) -> None:
    """Audit pages, drift page and model card, as files and as a server would send them."""
    top = Path(hostile.settings.reports_root).parent
    found = [path for path in top.rglob("*.html") if "sources" not in path.parts]
    kinds = {path.name for path in found}
    assert kinds >= {"index.html", "report.html", "model_card.html"}, kinds
    showing = [path for path in found if "svg onload" in path.read_text(encoding="utf-8")]
    assert {path.name for path in showing} == kinds, "every kind of page shows a planted value"
    with served(top) as address:
        for path in found:
            for where in (path, f"{address}/{path.relative_to(top)}"):
                look(page, where)
                assert not ran(page), where


@pytest.mark.parametrize("column", ["odd\"'><name>", *PLANTED])
def test_names_of_columns_run_nothing(page: Page, tmp_path: Path, column: str) -> None:
    rng = np.random.default_rng(3)
    old, new = (pd.DataFrame({column: rng.normal(mean, 1, 2_000), "n": rng.normal(0, 1, 2_000)}) for mean in (0, 1))
    profile = drift.profile(pa.Table.from_pandas(old), (column, "n"), ())
    decision = drift.decide(profile, pa.Table.from_pandas(new), DriftSpec())
    report = drift_report.write(old, new, decision, tmp_path, categorical=[], spec=DriftSpec())
    assert report.left_out == ()
    look(page, Path(report.html), "document.querySelectorAll('td button').length")
    page.evaluate(EXPAND)
    until(lambda: page.evaluate(f"{PLOTS} > 0"), "the plots of the columns", 0.2)
    assert not ran(page)
    assert page.evaluate("document.body.innerText.includes('&')"), "the name is shown, escaped"


def test_a_script_that_gets_into_the_drift_page_is_refused(page: Page, tmp_path: Path) -> None:
    """The policy holds where escaping fails: the page is changed after it was written."""
    report = report_of(tmp_path)
    scripts = f'<svg onload="{RAN}=1"></svg><script>{RAN}=2</script><img src=x onerror="{RAN}=3">'
    text = report.read_text(encoding="utf-8")
    changed = text.replace("<body>", f"<body>{scripts}", 1)
    assert changed != text
    report.write_text(changed, "utf-8")
    look(page, report, "document.querySelectorAll('td button').length")
    assert not ran(page)
    assert page.evaluate(f"({REFUSED}).length"), "the policy has refused them"


def test_a_page_without_the_policy_sends(page: Page, tmp_path: Path) -> None:
    """Else the test below could not fail: these requests arrive, the picture's and the form's too."""
    (tmp_path / "open.html").write_text("<html><body></body></html>")
    (tmp_path / "api").mkdir()
    asked: list[str] = []
    with served(tmp_path, asked) as address:
        look(page, f"{address}/open.html")
        for request in SENDS[:-1]:
            page.call("Runtime.evaluate", expression=request, awaitPromise=True, returnByValue=True)
        # nobody answers for a form that was sent: its page is gone
        page.evaluate(f"void ({SENDS[-1]})")
        until(lambda: "/api/form" in asked, "the request of the form", 0.2)
    # a browser may ask once more when a connection closes
    assert asked.count("/api/v2/dags") >= 2
    assert "/api/picture.png" in asked


def test_a_report_sends_nothing(page: Page, tmp_path: Path) -> None:
    """Even if a script ran in a report that Airflow's own address sent: it would have the reader's login."""
    report = report_of(tmp_path)
    asked: list[str] = []
    with served(tmp_path, asked) as address:
        look(page, f"{address}/{report.name}")
        assert page.evaluate(f"document.URL.startsWith({address!r})")
        for request in SENDS:
            answer = page.call("Runtime.evaluate", expression=request, awaitPromise=True, returnByValue=True)
            assert answer["result"].get("value") != "sent", request
    assert {path for path in asked if path != f"/{report.name}"} == set()


def test_a_page_with_a_script_too_many_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match="the page has 5 scripts and not 4"):
        drift_report._with_policy("<head></head>" + "<script>a()</script>" * 5)


def report_of(folder: Path) -> Path:
    """Write the drift page of one number."""
    old, new = (pd.DataFrame({"n": np.random.default_rng(seed).normal(seed, 1, 2_000)}) for seed in (0, 1))
    profile = drift.profile(pa.Table.from_pandas(old), ("n",), ())
    decision = drift.decide(profile, pa.Table.from_pandas(new), DriftSpec())
    return Path(drift_report.write(old, new, decision, folder, categorical=[], spec=DriftSpec()).html)


@contextmanager
def served(folder: Path, asked: list[str] | None = None) -> Iterator[str]:
    """Serve a folder on loopback and give its address; ``asked`` collects the paths that were asked for."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            if asked is not None and not self.path.endswith("favicon.ico"):
                asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
