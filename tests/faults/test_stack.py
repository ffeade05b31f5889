"""Faults that need Airflow: attempts that come back, events that come twice or never, parts that are away.

One stack for all of them. Days at the beginning of history need no days before them, so nothing is bootstrapped.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from include.core import fault_points
from include.core.partitions import Span
from include.core.repository import REPOSITORY
from include.lake.records import Attempt
from include.stack.airflow_cli import airflow_command
from include.stack.api import ApiError
from include.stack.processes import Daemon, stop
from include.steps import features, ingest, publishing
from tests.e2e.deployment import CASE, Deployment, clean_environ, dag, own_stack
from tests.waiting import until

pytestmark = [pytest.mark.fault, pytest.mark.e2e]

POINT = "publish.before_commit"
TABLE = f"{CASE}/raw/schedule"
STEPS = ("ingest", "features")
AWAY_S = 30.0


@pytest.fixture(scope="module")
def armed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which a test arms the point at which a publish halts."""
    return tmp_path_factory.mktemp("points")


@pytest.fixture(scope="module")
def deployment(armed: Path) -> Iterator[Deployment]:
    with clean_environ() as environ:
        environ.setenv(fault_points.POINT, f"{POINT}:{TABLE}=stop")
        environ.setenv(fault_points.ONCE, str(armed))
        with own_stack(environ, "faults-") as found:
            for step in ("score", "monitor", "train"):
                # without a champion they could only fail
                found.api.pause(dag(step))
            since = found.backfill("ingest", ["2013-01-01"])
            found.flowed(STEPS, ["2013-01-01"], since)
            yield found


def published_by(deployment: Deployment, key: str) -> dict[str, list[int]]:
    """Return the attempts that published ``key``, by table."""
    lake, tables = deployment.workspace.lake, [*deployment.daily_raw_tables, *deployment.feature_tables]
    history = {table: [record for record in lake.history(table) if record.key == key] for table in tables}
    return {table: [record.attempt.number for record in records] for table, records in history.items()}


def assert_as_undisturbed(deployment: Deployment, keys: Iterable[str]) -> None:
    """Compare the published rows of ``keys`` with those that plain calls compute now; each was published once."""
    workspace = deployment.workspace
    for key in keys:
        by = Attempt(CASE, "alone", key)
        assert {len(found) for found in published_by(deployment, key).values()} == {1}
        for stages in (ingest.land(workspace, Span.one(key), by), features.stage(workspace, Span.one(key), by)):
            for table, path in stages.folders.items():
                staged = workspace.lake.open_stage(path)
                if key in staged.partitions and "/quarantine/" not in table:
                    content = {key: staged.partitions[key].fingerprint}
                    assert deployment.fingerprints(table, [key]) == content, table


def halted(deployment: Deployment, armed: Path, key: str) -> tuple[str, psutil.Process, psutil.Process]:
    """Start an ingest whose publish halts before its commit; return the DAG run, the task and its supervisor."""
    (armed / POINT).touch()
    run_id = deployment.start("ingest", key=key)
    deployment.until(lambda: None if (armed / POINT).exists() else True, "a publish that halts")
    (task,) = (
        one for one in deployment.processes("ingest", run_id, "publish") if one.status() == psutil.STATUS_STOPPED
    )
    parent = task.parent()
    assert parent is not None
    return run_id, task, parent


def test_an_attempt_that_comes_back_from_the_dead_publishes_nothing(deployment: Deployment, armed: Path) -> None:
    """Supervisor and task hang, count as dead after the heartbeat timeout, and go on after their retry has ended."""
    run_id, task, supervisor = halted(deployment, armed, "2013-01-02")
    began = time.monotonic()
    supervisor.send_signal(signal.SIGSTOP)
    deployment.succeed("ingest", run_id)
    print(f"the hanging attempt was noticed and replaced within {time.monotonic() - began:.0f} s")
    assert published_by(deployment, "2013-01-02")[TABLE] == [2]
    for process in (task, supervisor):
        process.send_signal(signal.SIGCONT)
    psutil.wait_procs([task])
    assert published_by(deployment, "2013-01-02")[TABLE] == [2]
    log = "\n".join(deployment.api.log(dag("ingest"), run_id, "publish", 1))
    # the task ends by itself, or its supervisor learns by its heartbeat that another try runs, whichever is first
    refused, ended = "was overtaken by attempt 2", "Server indicated the task shouldn't be running anymore"
    assert refused in log or ended in log, log[-2000:]
    print(f"the attempt that came back: {refused if refused in log else ended}")
    deployment.flowed(STEPS[1:], ["2013-01-02"], since_start(deployment, run_id))
    assert_as_undisturbed(deployment, ["2013-01-02"])


def since_start(deployment: Deployment, run_id: str) -> datetime:
    return datetime.fromisoformat(str(deployment.api.run(dag("ingest"), run_id)["queued_at"]))


def test_a_task_whose_supervisor_was_killed_is_tried_again(deployment: Deployment, armed: Path) -> None:
    run_id, task, supervisor = halted(deployment, armed, "2013-01-03")
    began = time.monotonic()
    supervisor.kill()
    deployment.succeed("ingest", run_id)
    print(f"the killed supervisor was noticed and the task repeated within {time.monotonic() - began:.0f} s")
    # its task is an orphan, and goes on
    with suppress(psutil.NoSuchProcess):
        task.send_signal(signal.SIGCONT)
    psutil.wait_procs([task])
    assert published_by(deployment, "2013-01-03")[TABLE] == [2]
    deployment.flowed(STEPS[1:], ["2013-01-03"], since_start(deployment, run_id))
    assert_as_undisturbed(deployment, ["2013-01-03"])


def test_an_event_that_comes_twice_changes_nothing(deployment: Deployment) -> None:
    """The second comes when the DAG run of the first is there: Airflow would join two that wait for one."""
    before, runs = deployment.versions(), len(deployment.api.runs(dag("features")))
    events = deployment.api.call("GET", "/assets/events", source_dag_id=dag("ingest"), limit=100)["asset_events"]
    event = next(one for one in events if one["partition_key"] == "2013-01-01")
    again = {name: event[name] for name in ("asset_id", "partition_key", "extra")}
    for more in (1, 2):
        deployment.api.call("POST", "/assets/events", again)
        deployment.until(
            lambda wanted=runs + more: len(deployment.api.runs(dag("features"))) == wanted or None,
            f"DAG run {more} of the event",
        )
    deployment.until(
        lambda: all(run["state"] == "success" for run in deployment.api.runs(dag("features"))) or None,
        "the DAG runs of both events",
    )
    assert deployment.versions() == before


def test_a_day_whose_event_never_came_is_backfilled(deployment: Deployment) -> None:
    """The rows are published, and nobody was told."""
    key, workspace, by = "2013-01-04", deployment.workspace, Attempt(CASE, dag("ingest"), "told nobody")
    stages = ingest.land(workspace, Span.one(key), by)
    publishing.audit(workspace, stages, by)
    publishing.publish(workspace, stages, by)
    since = deployment.backfill("features", [key])
    deployment.flowed(STEPS[1:], [key], since)
    assert_as_undisturbed(deployment, [key])


def test_events_in_the_wrong_order_give_the_same_rows(deployment: Deployment) -> None:
    """The newest day comes first: its features wait for the days before it."""
    keys = ("2013-01-05", "2013-01-06", "2013-01-07")
    since = deployment.backfill("ingest", keys, "--run-backwards", "--max-active-runs", "1")
    deployment.flowed(STEPS, keys, since)
    assert_as_undisturbed(deployment, keys)


def test_two_schedulers_run_each_task_once(deployment: Deployment) -> None:
    (one,) = (service for service in deployment.stack.services if service.name == "scheduler")
    second = Daemon("scheduler-2", deployment.layout.run, deployment.layout.logs / "scheduler-2.log")
    second.start(one.command, deployment.stack._full_environ(), REPOSITORY)
    try:
        deployment.until(
            lambda: airflow_command(deployment.layout, "jobs", "check", "--job-type", "SchedulerJob", "--limit", "2",
                                    "--allow-multiple") or True, "two schedulers", poll_s=2
        )  # fmt: skip
        keys = ("2013-01-08", "2013-01-09", "2013-01-10")
        since = deployment.backfill("ingest", keys, "--max-active-runs", "3")
        deployment.flowed(STEPS, keys, since)
    finally:
        stop([second])
    # every DAG run that was made, and not only the last one of each step and day
    runs = [run for step in STEPS for run in deployment.api.runs(dag(step)) if run["partition_key"] in keys]
    runs = [run for run in runs if datetime.fromisoformat(run["queued_at"]) >= since]
    made = Counter((run["dag_id"], run["partition_key"]) for run in runs)
    assert made == {(dag(step), key): 1 for step in STEPS for key in keys}
    tasks = [task for run in runs for task in deployment.api.task_instances(run["dag_id"], run["dag_run_id"])]
    tried = {(task["dag_id"], task["task_id"], task["try_number"]) for task in tasks if task["state"] != "skipped"}
    assert {number for _, _, number in tried} == {1}, tried
    assert_as_undisturbed(deployment, keys)


@contextmanager
def away(processes: Iterable[psutil.Process]) -> Iterator[None]:
    """Halt ``processes`` in the block: they are there, and answer nobody."""
    halted = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            halted.append(process)
    try:
        yield
    finally:
        for process in halted:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@pytest.mark.parametrize(
    ("part", "keys"), [("postgres", ("2013-01-11", "2013-01-12")), ("api-server", ("2013-01-13",))]
)
def test_a_part_that_is_away_for_a_while_costs_nothing(
    deployment: Deployment, part: str, keys: tuple[str, ...]
) -> None:
    """Half a minute stands for two; what failed meanwhile is cleared, as a person would."""
    (pid,) = (state.pid for state in deployment.stack.status() if state.name == part)
    leader = psutil.Process(pid)
    since = deployment.backfill("ingest", keys, "--max-active-runs", "2")
    deployment.until(lambda: _running_tasks(deployment) or None, "a running task")
    with away([leader, *leader.children(recursive=True)]):
        time.sleep(AWAY_S)

    def done() -> bool:
        with suppress(ApiError):
            runs = [run for step in STEPS for run in deployment.api.runs(dag(step)) if run["partition_key"] in keys]
            for run in runs:
                if run["state"] == "failed":
                    print(f"cleared after {part} was away: {run['dag_id']} {run['partition_key']}")
                    deployment.api.clear(str(run["dag_id"]), str(run["dag_run_id"]))
            return sum(run["state"] == "success" for run in runs) == 2 * len(keys)
        return False

    until(done, f"all DAG runs after {part} was away", poll_s=1)
    deployment.flowed(STEPS, keys, since)
    assert_as_undisturbed(deployment, keys)


def _running_tasks(deployment: Deployment) -> int:
    runs = deployment.api.runs(dag("ingest"), state="running")
    tasks = [task for run in runs for task in deployment.api.task_instances(dag("ingest"), str(run["dag_run_id"]))]
    return sum(task["state"] == "running" for task in tasks)
