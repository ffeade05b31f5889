"""Attacks on a running stack: foreign hosts, viewers that write, secrets that leak, scripts in Airflow's own pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest

from docs.screenshots import Page
from include.stack.api import AirflowApi
from include.stack.envfile import parse_env
from include.stack.postgres import DATABASES
from tests.e2e.conftest import FIRST, Backfilled
from tests.e2e.deployment import Deployment, dag
from tests.security.api_routes import READS, Route, body_of
from tests.security.chromium import PLANTED, REFUSED, chromium, look, ran
from tests.waiting import HANGS_AFTER_S

pytestmark = pytest.mark.e2e
# no proxy of the machine, and time for a busy one
PLAIN: dict[str, Any] = {"trust_env": False, "timeout": HANGS_AFTER_S}

# what a viewer may do although it is no GET: each changes nothing but the viewer's own list of favourites
NOT_WRITES = {
    "POST /api/v2/dags/{dag_id}/dagRuns/list",
    "POST /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list",
    "POST /api/v2/dags/{dag_id}/favorite",
    "POST /api/v2/dags/{dag_id}/unfavorite",
}

# one of several fields is needed, which the schema does not say
CHOICES = {"/api/v2/dags/{dag_id}/clearDagRuns": {"partition_key": FIRST}}


def token(deployment: Deployment, user: str) -> str:
    api = AirflowApi.from_layout(deployment.layout, user)
    answer = httpx.post(f"{api.url}/auth/token", json={"username": user, "password": api.password}, **PLAIN)
    return str(answer.raise_for_status().json()["access_token"])


# ---- hosts and headers ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/api/v2/version", "/execution/health", "/auth/login"])
def test_airflow_answers_to_its_own_host_names_only(deployment: Deployment, path: str) -> None:
    url = f"{deployment.layout.airflow_url}{path}"
    own = httpx.get(url, **PLAIN)
    assert own.status_code != 400
    assert {"x-frame-options", "content-security-policy", "x-content-type-options"} <= set(own.headers)
    assert httpx.get(url, headers={"Host": "evil.example"}, **PLAIN).status_code == 400


def test_mlflow_answers_to_its_own_host_names_only_and_may_not_be_framed(deployment: Deployment) -> None:
    url = deployment.layout.mlflow_url
    assert httpx.get(url, headers={"Host": "evil.example"}, **PLAIN).status_code == 403
    own = httpx.get(url, **PLAIN)
    assert (own.status_code, own.headers["x-frame-options"]) == (401, "SAMEORIGIN")


@pytest.mark.parametrize(
    "path",
    [
        "/ajax-api/2.0/mlflow/experiments/search?max_results=9",
        "/api/2.0/mlflow/registered-models/search",
        "/api/2.0/mlflow-artifacts/artifacts",
        "/get-artifact?path=model/manifest.json&run_uuid=1",
        "/graphql",
        "/version",
    ],
)
def test_mlflow_asks_for_a_login(deployment: Deployment, path: str) -> None:
    assert httpx.get(deployment.layout.mlflow_url + path, **PLAIN).status_code == 401


# ---- who may change what ----------------------------------------------------------------------------


@pytest.mark.usefixtures("backfilled")
def test_a_viewer_changes_nothing_on_any_route(bootstrapped: Deployment) -> None:
    """Every operation that Airflow describes, with a body that it accepts."""
    url = bootstrapped.layout.airflow_url
    openapi = httpx.get(f"{url}/openapi.json", **PLAIN).json()
    run = bootstrapped.api.runs(dag("bootstrap"))[0]
    known = {"dag_id": dag("bootstrap"), "dag_run_id": quote(run["dag_run_id"], safe=""), "task_id": "land"}
    known |= {"pool_name": "default_pool", "xcom_key": "return_value"}
    known["backfill_id"] = str(bootstrapped.api.backfills(dag("ingest"))[0]["id"])
    known["file_token"] = str(bootstrapped.api.call("GET", f"/dags/{dag('bootstrap')}")["file_token"])
    headers = {"Authorization": f"Bearer {token(bootstrapped, 'viewer')}"}
    answers = {}
    for path, operations in openapi["paths"].items():
        for method in operations.keys() - {name.lower() for name in READS}:
            route = Route(method.upper(), path)
            body = CHOICES.get(path) or body_of(openapi, operations[method])
            where = f"{url}{route.filled(known)}"
            answer = httpx.request(route.method, where, json=body, headers=headers, **PLAIN)
            answers[f"{route.method} {path}"] = answer.status_code
    assert len(answers) >= 60
    assert {name: code for name, code in answers.items() if code != 403 and name not in NOT_WRITES} == {}
    assert bootstrapped.api.runs(dag("bootstrap"))[0] == run


# ---- paths ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", ["../../../secrets.env", "..%2f..%2f..%2fsecrets.env", "/etc/passwd", "%2fetc%2fpasswd"])
def test_mlflow_serves_nothing_outside_of_its_artifacts(bootstrapped: Deployment, up: str) -> None:
    login = ("admin", secrets_of(bootstrapped)["MLFLOW_TRACKING_PASSWORD"])
    for path in (f"/api/2.0/mlflow-artifacts/artifacts/{up}", f"/ajax-api/2.0/mlflow-artifacts/artifacts?path={up}"):
        answer = httpx.get(bootstrapped.layout.mlflow_url + path, auth=login, **PLAIN)
        assert answer.status_code >= 400, path
        assert "root:" not in answer.text
        assert "PASSWORD" not in answer.text


@pytest.mark.parametrize("up", ["..%2f..%2f..%2fsecrets.env", "%2e%2e%2f%2e%2e%2fsecrets.env", "..%5c..%5csecrets.env"])
def test_airflow_serves_nothing_outside_of_its_logs_and_files(bootstrapped: Deployment, up: str) -> None:
    headers = {"Authorization": f"Bearer {token(bootstrapped, 'admin')}"}
    for path in (
        f"/static/{up}",
        f"/auth/static/{up}",
        f"/api/v2/dags/{dag('bootstrap')}/dagRuns/{up}/taskInstances/land/logs/1",
        f"/api/v2/dagSources/{up}",
    ):
        answer = httpx.get(bootstrapped.layout.airflow_url + path, headers=headers, **PLAIN)
        assert answer.status_code >= 400 or "<html" in answer.text, path
        assert "PASSWORD" not in answer.text


# ---- secrets ----------------------------------------------------------------------------------------


def secrets_of(deployment: Deployment) -> dict[str, str]:
    path = deployment.layout.secrets_file
    return parse_env(path.read_text(encoding="utf-8"), str(path))


def test_no_secret_is_in_a_file_a_row_or_a_command_line(bootstrapped: Deployment, backfilled: Backfilled) -> None:
    """Logs, reports, publish records, models, XCom, rendered fields, database dumps: after a whole chain."""
    layout, canaries = bootstrapped.layout, secrets_of(bootstrapped)
    assert len(canaries) == 7
    own = {layout.secrets_file, layout.home / "airflow" / "passwords.json"}
    found = [
        f"{path}: {name}"
        for path in layout.home.rglob("*")
        if path.is_file() and not path.is_symlink() and path not in own
        for name in in_file(path, canaries)
    ]
    for database in DATABASES:
        dumped = dump(bootstrapped, database)
        assert len(dumped) > 0
        found += [f"a row of {database}: {name}" for name, value in canaries.items() if value in dumped]
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        found += [f"command line of {process.pid}: {name}" for name, value in canaries.items() if value in command]
    assert found == []


def in_file(path: Path, canaries: dict[str, str]) -> list[str]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return [name for name, value in canaries.items() if value.encode() in content]


def dump(deployment: Deployment, database: str) -> str:
    """Return every row of every table of a database, as text."""
    postgres = deployment.stack.postgres
    query = (
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    rows: list[str] = []
    for table in postgres.query(database, query):
        rows += [table, *postgres.query(database, f"SELECT one::text FROM {table} AS one")]
    return "\n".join(rows)


def test_the_processes_of_tasks_do_not_hold_the_key_that_signs_tokens(bootstrapped: Deployment) -> None:
    """Tasks come with a signed token, and must not be able to sign one: they are forks of these processes."""
    names = ("AIRFLOW__API_AUTH__JWT_SECRET", "MLFLOW_TRACKING_PASSWORD")
    key, password = names
    secrets = {name: secrets_of(bootstrapped)[name].encode() for name in names}
    (scheduler,) = (psutil.Process(state.pid) for state in bootstrapped.stack.status() if state.name == "scheduler")
    assert key in held(scheduler, secrets), "the scheduler signs the tokens of tasks"
    found = {process: held(process, secrets) for process in scheduler.children(recursive=True)}
    assert [process for process, names_of in found.items() if key in names_of] == []
    forked = [" ".join(process.cmdline()) for process, names_of in found.items() if password in names_of]
    assert any("multiprocessing.forkserver" in command for command in forked)
    assert any("LocalExecutor" in command for command in forked), "these processes fork the tasks"


def held(process: psutil.Process, secrets: dict[str, bytes]) -> set[str]:
    """Return the names of the secrets in all that a process has written to its memory, its environment included.

    `/proc/<pid>/environ` is no witness: a process that sets its title overwrites it.
    """
    found: set[str] = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        written = [area for area in process.memory_maps(grouped=False) if area.perms.startswith("rw") and area.rss]
        with Path(f"/proc/{process.pid}/mem").open("rb", buffering=0) as memory:
            for area in written:
                first, last = (int(end, 16) for end in area.addr.split("-"))
                memory.seek(first)
                # a mapping that has gone meanwhile, or that no one may read
                with suppress(OSError):
                    content = memory.read(last - first)
                    found |= {name for name, value in secrets.items() if value in content}
    return found


# ---- scripts in Airflow's own pages -----------------------------------------------------------------


# the log shows groups of lines folded
UNFOLD = (
    "[...document.querySelectorAll('[data-testid^=summary-]')]"
    ".filter(group => group.textContent.startsWith('▶')).forEach(group => group.click())"
)


@pytest.fixture(scope="module")
def page(bootstrapped: Deployment) -> Iterator[Page]:
    with chromium() as tab:
        tab.call(
            "Network.setCookie", name="_token", value=token(bootstrapped, "admin"), url=bootstrapped.layout.airflow_url
        )
        yield tab


@pytest.fixture(scope="module")
def hostile_run(bootstrapped: Deployment) -> str:
    """Ask an ingest for settings that are called like scripts, and write scripts and Markdown into its note."""
    run_id = bootstrapped.start("ingest", dict.fromkeys(PLANTED, "x"))
    failure = bootstrapped.why_failed("ingest", run_id)
    assert all(script in failure for script in PLANTED), "the log names the unknown settings"
    note = "\n\n".join([*PLANTED, f"[x](javascript:{PLANTED[2]})", "# A heading"])
    bootstrapped.api.call("PATCH", f"/dags/{dag('ingest')}/dagRuns/{quote(run_id, safe='')}", {"note": note})
    return run_id


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/dags/{dag}/runs/{run}", "'Dag Run'"),
        ("/dags/{dag}/runs/{run}/details", "'onload'"),
        ("/dags/{dag}/runs/{run}/tasks/land", "'onload'"),
        ("/dags/{dag}/runs/{run}/tasks/land/rendered_templates", "'Rendered Templates'"),
        ("/dags/{dag}/runs/{run}/tasks/land/details", "'failed'"),
        ("/dags/{dag}/code", "'ingest.py'"),
    ],
)
def test_scripts_in_airflows_pages_do_not_run(
    bootstrapped: Deployment, page: Page, hostile_run: str, path: str, shown: str
) -> None:
    """Notes are Markdown, and logs, rendered fields and XCom show what came from the data."""
    where = path.format(dag=dag("ingest"), run=quote(hostile_run, safe=""))
    look(page, bootstrapped.layout.airflow_url + where, f"({UNFOLD}, document.body.innerText.includes({shown}))")
    assert not ran(page)
    # the policy of the pages does not stop Airflow itself
    assert page.evaluate(f"({REFUSED}).join()") == ""
