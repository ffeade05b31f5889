"""A plan as text for a person: what is stale and why, and the commands that mend it, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from include.spec.loading import load_use_cases
from include.steps import commands
from include.steps.plan.planning import Plan, short, spans_as_text


def lines(plan: Plan, followers: Sequence[str] = ()) -> Iterator[str]:
    """Yield the plan as text for a person; ``followers`` are the use cases that share its queries."""
    if plan.empty:
        yield f"{plan.use_case}: nothing is stale."
    else:
        yield f"{plan.use_case}: plan {plan.digest}"
        width = max((len(short(one.table)) for one in plan.stale), default=0)
        for one in plan.stale:
            yield f"  {short(one.table):{width}}  {spans_as_text(one.spans)} ({one.count}): {one.reason}"
        for reason in plan.model:
            yield f"  version {plan.champion}, the champion: {reason}"
        yield ""
        yield from _commands(plan)
    if followers:
        yield f"It shares queries with {', '.join(followers)}: make plan CASE=<name> says what is stale there."


def _commands(plan: Plan) -> Iterator[str]:
    about = "" if plan.seconds is None else f", about {max(plan.seconds, 1):.0f} s of computing"
    yield f"In this order{about} (`make shell` first; or trigger {plan.use_case}_reprocess with this plan's name):"
    for step, spans in (("features", plan.features), ("train", ()), ("score", plan.scores), ("monitor", plan.verdicts)):
        if step == "train" and plan.train_as_of is not None:
            conf = json.dumps({"as_of": plan.train_as_of})
            yield f"  airflow dags trigger {plan.use_case}_train --conf '{conf}'    # then its promotion"
        for span in spans:
            yield f"  {commands.backfill_again(plan.use_case, step, span)}"


def followers_of(use_case: str) -> list[str]:
    """Return the use cases that share the queries of ``use_case``."""
    cases = list(load_use_cases())
    folder = next((case.assets_folder for case in cases if case.name == use_case), None)
    return [case.name for case in cases if case.name != use_case and case.assets_folder == folder]
