"""The expectation suites of a step's tables: those of the use case, and for tables without one what always holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from include.core.errors import SpecError
from include.quality import suites
from include.spec.suite import Suite
from include.spec.use_case import UseCase
from include.steps.workspace import Workspace

_BUILT_IN = Path(suites.__file__).parent / "built_in"
_WRITTEN_BY_STEPS = ("recalibration", "scores", "verdicts")


def suites_of(workspace: Workspace, names: Iterable[str]) -> dict[str, Suite]:
    """Load the expectation suites of some tables; a table without a file has the built-in suite of its kind.

    Raises:
        SpecError: suites have faults; the error lists all of them.
    """
    case = workspace.case
    found: dict[str, Suite] = {}
    faults: list[str] = []
    for name in names:
        path = case.assets_folder / "suites" / f"{name}.yaml"
        try:
            found[name] = (None if path.exists() else built_in(case, name)) or suites.load_suite(path)
        except SpecError as error:
            faults += error.faults
    if faults:
        raise SpecError(faults)
    return found


def built_in(case: UseCase, name: str) -> Suite | None:
    """Return what must hold for a table of any use case: its key, its time stamps, and what later steps rest on.

    Returns:
        None for a table that neither the spec nor a step knows.
    """
    if name in _WRITTEN_BY_STEPS:
        suite = suites.load_suite(_BUILT_IN / f"{name}.yaml")
        return _of_scores(case, suite) if name == "scores" else suite
    if name in case.features.views:
        stamps = {"ds": "VARCHAR", "event_timestamp": "TIMESTAMPTZ", "created_timestamp": "TIMESTAMPTZ"}
        return Suite(table=name, key=["ds", *case.features.views[name]], columns=stamps)
    if name in case.raw:
        return Suite(table=name, key=list(case.raw[name].key), columns={"ds": "VARCHAR"})
    return None


def _of_scores(case: UseCase, suite: Suite) -> Suite:
    """Add the key of the spec, and what must hold of the predictions of its task."""
    more = _BUILT_IN / case.training.task / "scores.yaml"
    if not more.exists():
        return suite.model_copy(update={"key": list(case.predictions.key)})
    added = suites.load_suite(more)
    return suite.model_copy(
        update={
            "key": list(case.predictions.key),
            "columns": {**suite.columns, **added.columns},
            "expectations": [*suite.expectations, *added.expectations],
        }
    )
