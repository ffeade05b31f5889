"""Thirty days through the whole chain: `airflow backfill`, with this project's settings and with Airflow's own.

The third way is a loop that calls the same functions day after day in one process. Each way uses up its days, so each
is measured once; the stock settings and the loop use fewer days and are compared per day. The loop runs while the
stack of the first way is idle, as in the benchmark ``chain``. The stock settings get a freshly started stack.
"""

from __future__ import annotations

import time

from tests.benchmarks import stacks
from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work


def rows(scale: Scale) -> list[Row]:
    """List the one row: a backfill beside the loop and the stock settings."""
    case = stacks.use_case(scale)
    days, fewer = (30, 2) if scale == "full" else (4, 2)
    stacks.Prepared(case).make()
    stock, loop = "Airflow's stock settings", "the functions in a loop"
    part = {"case": case, "days": fewer}
    return [
        Row(
            f"{days} days", days, "days",
            Call("backfill", "through_airflow", {"case": case, "days": days}, runs=1, limit_s=3600),
            (
                Call(loop, "in_process", part, fewer, runs=1, limit_s=3600),
                Call(stock, "through_airflow", part | {"overrides": stacks.STOCK}, fewer, runs=1, limit_s=3600),
            ),
            (Target("seconds", 3, stock, faster=True), Target("seconds", 2, loop)),
        )
    ]  # fmt: skip


def through_airflow(case: str, days: int, overrides: str = "") -> Work:
    """Set up a backfill of the next ``days`` on a stack with ``overrides``."""
    from include.stack.api import AirflowApi

    prepared = stacks.Prepared(case)
    state: dict[str, object] = {}

    def before() -> None:
        state["stack"], state["keys"] = prepared.start(overrides), prepared.take(days)

    def run() -> None:
        state["began"] = time.time()
        state["runs"] = stacks.backfill(state["stack"], case, state["keys"])  # type: ignore[arg-type]
        state["ended"] = time.time()

    def after() -> Facts:
        api = AirflowApi.from_layout(state["stack"].layout)  # type: ignore[attr-defined]
        return stacks.shares(api, state["runs"], state["began"], state["ended"])  # type: ignore[arg-type]

    return Work(run, before, after)


def in_process(case: str, days: int) -> Work:
    """Set up the loop over the next ``days`` in this process."""
    prepared = stacks.Prepared(case)
    state: dict[str, object] = {}

    def before() -> None:
        prepared.start()
        stacks.one_day(prepared.workspace(), prepared.take(1)[0])
        state["keys"] = prepared.take(days)

    def run() -> Facts:
        workspace = prepared.workspace()
        total: dict[str, float] = {}
        for key in state["keys"]:  # type: ignore[attr-defined]
            for step, seconds in stacks.one_day(workspace, key).items():
                total[step] = total.get(step, 0.0) + seconds
        return total

    return Work(run, before)
