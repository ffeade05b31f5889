"""Conditions beside the primary metric: figures of the test rows, of slices, of features and of scoring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from include.spec.gates import Bound, CostGate, SliceGate
from include.training.blocks import Codes
from include.training.interval import Difference
from include.training.judging.leakage import Probe
from include.training.judging.metrics import Floats, metric


class Guardrail(BaseModel):
    """One condition and whether the challenger met it; the name states the figure and its unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    value: float
    bound: Bound
    passed: bool

    @classmethod
    def of(cls, name: str, value: float, bound: Bound) -> Guardrail:
        """Check ``value`` against ``bound``."""
        return cls(name=name, value=value, bound=bound, passed=bound.accepts(value))


class SliceEvidence(BaseModel):
    """One metric on a part of the test rows.

    ``judged`` is false where the slice has too few rows or days, or the metric is undefined on them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    challenger: float | None
    champion: float | None
    n_rows: int
    n_days: int
    judged: bool = False


def of_slice(
    rows: NDArray[np.bool_],
    y: Floats,
    blocks: Codes,
    challenger: Floats,
    champion: Floats | None,
    gate: SliceGate,
) -> SliceEvidence:
    """Measure the gate's metric on ``rows``; None where it is undefined, such as the AUC of one class."""
    measure = metric(gate.metric)
    values = [
        None if predicted is None else measure.value(y[rows], predicted[rows]) for predicted in (challenger, champion)
    ]
    ours, theirs = (value if value is not None and np.isfinite(value) else None for value in values)
    n_rows, n_days = int(np.count_nonzero(rows)), len(np.unique(blocks[rows]))
    supported = n_rows >= gate.min_rows and n_days >= gate.min_blocks
    return SliceEvidence(
        metric=gate.metric,
        challenger=ours,
        champion=theirs,
        n_rows=n_rows,
        n_days=n_days,
        judged=supported and ours is not None,
    )


def slice_guardrails(name: str, found: SliceEvidence, gate: SliceGate) -> list[Guardrail]:
    """Return the guardrails of one slice; none where the slice is too small or its metric undefined."""
    if not found.judged or found.challenger is None:
        return []
    rails = []
    if gate.accept is not None:
        rails.append(Guardrail.of(f"{gate.metric} of {name}", found.challenger, gate.accept))
    if gate.worse_by is not None and found.champion is not None:
        gain = found.challenger - found.champion
        maximize = metric(gate.metric).info.maximize
        bound = Bound(min=-gate.worse_by) if maximize else Bound(max=gate.worse_by)
        rails.append(Guardrail.of(f"{gate.metric} of {name}, minus the champion's", gain, bound))
    return rails


def feature_guardrails(probes: Iterable[Probe], threshold: float) -> list[Guardrail]:
    """Return a guardrail for every feature that nearly determines the label, by its value or by being null or known.

    Without such a feature it is one guardrail, which is met, for the strongest feature.
    """
    ordered = sorted(probes, key=lambda one: (not one.flagged, -one.auc))
    shown = [probe for probe in ordered if probe.flagged] or ordered[:1]
    bound = Bound(max=threshold)
    return [
        # the flag decides, not the AUC: nulls that determine the label of a few rows hardly change the AUC
        Guardrail(name=_probe_name(probe), value=probe.auc, bound=bound, passed=not probe.flagged)
        for probe in shown
    ]


def _probe_name(probe: Probe) -> str:
    told = "" if probe.of_class is None else f" for {probe.of_class!r} against all others"
    if probe.by == "value":
        return f"auc of feature {probe.feature} alone{told}"
    rate = f"label rate {probe.rate:.3f} in {probe.rows} rows"
    return f"auc of feature {probe.feature} being {probe.by}{told} ({rate})"


def baseline_guardrails(name: str, differences: Mapping[str, Mapping[str, Difference]]) -> list[Guardrail]:
    """Return a guardrail for each baseline: the model is better in the metric ``name`` by the whole interval.

    Args:
        name: the primary metric.
        differences: model minus baseline on the test rows, by baseline and metric.
    """
    bound = Bound(min=0) if metric(name).info.maximize else Bound(max=0)
    found = []
    for baseline, by_metric in sorted(differences.items()):
        difference = by_metric[name]
        value = 0.0 if difference.value is None else difference.value
        rail = Guardrail(name=f"{name} minus that of {baseline}", value=value, bound=bound, passed=difference.better)
        found.append(rail)
    return found


def cost_guardrails(measured: Mapping[str, float], gate: CostGate) -> list[Guardrail]:
    """Return guardrails for scoring time and model size, by the names of the gate's fields."""
    limits = gate.model_dump(exclude_none=True)
    return [Guardrail.of(name.replace("_", " "), measured[name], Bound(max=limit)) for name, limit in limits.items()]
