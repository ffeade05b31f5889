"""The expectation suites of a step's tables: those of the use case, and for tables without one what always holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from include.core.errors import SpecError
from include.quality import suites
from include.spec.suite import ExpectationRule, Suite
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
        key = ["ds", *case.features.views[name]]
        return Suite(table=name, key=key, columns=stamps, may_be_empty=_rare(case))
    if name in case.raw:
        raw = case.raw[name]
        return Suite(table=name, key=list(raw.key), columns={"ds": "VARCHAR"}, may_be_empty=raw.may_be_empty)
    return None


def _rare(case: UseCase) -> bool:
    """Tell whether a partition may have nothing to predict."""
    return any(table.may_be_empty for table in case.raw.values())


def _in_range(case: UseCase) -> Iterator[ExpectationRule]:
    if case.training.label_range is not None:
        bounds = zip(("min_value", "max_value"), case.training.label_range, strict=True)
        kwargs = {"column": "prediction", **{name: bound for name, bound in bounds if bound is not None}}
        yield ExpectationRule(
            type="expect_column_values_to_be_between", kwargs=kwargs, severity="critical", why="training.label_range"
        )


def _of_scores(case: UseCase, suite: Suite) -> Suite:
    """Add the key of the spec, and what must hold of the predictions of its task."""
    more = _BUILT_IN / case.training.task / "scores.yaml"
    of_case = {"key": list(case.predictions.key), "may_be_empty": _rare(case)}
    suite = suite.model_copy(update={"expectations": [*suite.expectations, *_in_range(case)]})
    if not more.exists():
        return suite.model_copy(update=of_case)
    added = suites.load_suite(more)
    of_task = {
        "columns": {**suite.columns, **added.columns},
        "expectations": [*suite.expectations, *added.expectations],
    }
    return suite.model_copy(update={**of_case, **of_task})
