"""One day from ingest to monitoring: through Airflow with warm workers, beside the same calls in one process.

Four DAGs, eighteen tasks. ``in_tasks`` is the time in which at least one task ran; the rest of the time is Airflow's.
The facts of the reference show the time of each step. The reference runs while the same stack is idle.
"""

from __future__ import annotations

import time

from tests.benchmarks import stacks
from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work


def rows(scale: Scale) -> list[Row]:
    """List the one row: a day through Airflow beside the calls in one process."""
    given = {"case": stacks.use_case(scale)}
    stacks.Prepared(given["case"]).make()
    calls = Call("the calls in one process", "in_process", given, runs=3)
    subject, target = Call("through Airflow", "through_airflow", given, runs=3), Target("seconds", 1.5, calls.label)
    return [Row("one day", 1, "days", subject, (calls,), (target,))]


def through_airflow(case: str) -> Work:
    """Set up one day that is triggered on a running stack."""
    from include.stack.api import AirflowApi

    prepared = stacks.Prepared(case)
    state: dict[str, object] = {}

    def before() -> None:
        if "api" not in state:
            state["api"] = api = AirflowApi.from_layout(prepared.start().layout)
            # one unmeasured day first: it imports the modules that the preload leaves out
            stacks.one_day_through_airflow(api, case, prepared.take(1)[0])
        state["key"] = prepared.take(1)[0]

    def run() -> None:
        state["began"] = time.time()
        state["runs"] = stacks.one_day_through_airflow(state["api"], case, state["key"])  # type: ignore[arg-type]
        state["ended"] = time.time()

    def after() -> Facts:
        return stacks.shares(state["api"], state["runs"], state["began"], state["ended"])  # type: ignore[arg-type]

    return Work(run, before, after)


def in_process(case: str) -> Work:
    """Set up the same calls in this process."""
    prepared = stacks.Prepared(case)
    state: dict[str, object] = {}

    def before() -> None:
        if "workspace" not in state:
            prepared.start()
            state["workspace"] = workspace = prepared.workspace()
            stacks.one_day(workspace, prepared.take(1)[0])
        state["key"] = prepared.take(1)[0]

    def run() -> Facts:
        return stacks.one_day(state["workspace"], state["key"])  # type: ignore[arg-type]

    return Work(run, before)
