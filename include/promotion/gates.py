"""The verdict on a challenger: better than the champion on the same rows, or not.

Whole days are resampled, not rows: the rows of one day depend on each other (flights share its weather), and an
interval that took them as independent would be several times too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from include.core.errors import TrainingError
from include.promotion import guardrails
from include.promotion.guardrails import Guardrail, SliceEvidence
from include.spec.gates import GateSpec, SliceGate
from include.training.blocks import Codes, block_codes
from include.training.judging.bootstrap import paired_difference
from include.training.judging.metrics import Floats, metric


class Verdict(BaseModel):
    """The decision to promote or not, with its evidence. JSON by ``model_dump_json``.

    Attributes:
        value: the challenger's primary metric; ``champion_value`` the champion's on the same rows.
        difference, low, high: challenger minus champion with its 95 % interval; None without a champion.
        guardrails: every further condition and whether it was met.
        slices: figures of the parts of the test rows that the gates name, by ``column=value``.
        remarks: notes for the reader of the figures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    promote: bool
    reason: str
    metric: str
    value: float
    champion_value: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n_days: int
    n_rows: int
    guardrails: tuple[Guardrail, ...] = ()
    slices: dict[str, SliceEvidence] = {}
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TestRows:
    """Predictions of the same test rows by both models.

    Attributes:
        keys: partition key of each row.
        y: outcome of each row.
        challenger, champion: predictions, of the same classes; ``champion`` is None where there is no champion yet.
        slices: rows of each part with figures of its own, as boolean masks by column and value.
    """

    __test__ = False  # pytest would collect the class as a test, by its name

    keys: Sequence[str] | NDArray[np.str_]
    y: Floats
    challenger: Floats
    champion: Floats | None = None
    slices: Mapping[str, Mapping[str, NDArray[np.bool_]]] = field(default_factory=dict)


def judge(test: TestRows, spec: GateSpec, measured: Sequence[Guardrail] = (), remarks: Sequence[str] = ()) -> Verdict:
    """Promote if no guardrail is broken and the challenger is better than the champion, or there is no champion.

    Better means that the block-bootstrap interval of the paired difference excludes zero. ``measured`` are the
    guardrails that do not come from predictions (features, cost).

    Raises:
        TrainingError: there are no rows, numbers of rows differ, predictions are NaN, a metric is undefined on these
            rows (one class only), or a slice has no rows.
    """
    blocks = _checked_blocks(test)
    value = _value(spec.metric, test.y, test.challenger, "the challenger")
    slices, of_slices, too_small = _slices(test, blocks, spec)
    rails = [
        Guardrail.of(name, _value(name, test.y, test.challenger, "the challenger"), bound)
        for name, bound in sorted(spec.guardrails.items())
    ]
    verdict = Verdict(
        promote=True,
        reason="there is no champion yet",
        metric=spec.metric,
        value=value,
        n_days=int(blocks.max()) + 1,
        n_rows=len(blocks),
        guardrails=(*rails, *of_slices, *measured),
        slices=slices,
        remarks=(*remarks, *too_small),
    )
    return _subject_to_guardrails(_against_champion(verdict, test, blocks, spec))


def _against_champion(alone: Verdict, test: TestRows, blocks: Codes, spec: GateSpec) -> Verdict:
    if test.champion is None:
        return alone
    champion_value = _value(spec.metric, test.y, test.champion, "the champion")
    found = paired_difference(
        metric(spec.metric),
        test.y,
        test.challenger,
        test.champion,
        blocks,
        resamples=spec.resamples,
        seed=spec.seed,
    )
    promote, reason = _compared(spec, found.better, found.worse, alone.n_days)
    evidence = {"difference": found.value, "low": found.low, "high": found.high}
    compared = {"promote": promote, "reason": reason, "champion_value": champion_value, **evidence}
    return alone.model_copy(update=compared)


def _compared(spec: GateSpec, better: bool, worse: bool, n_days: int) -> tuple[bool, str]:
    if n_days < spec.min_blocks:
        return (
            False,
            f"{n_days} test blocks (days, or longer periods) are too few to compare by; the gate asks for "
            f"{spec.min_blocks}",
        )
    if better:
        return True, f"{spec.metric} is better than the champion's, the interval excludes zero"
    if worse:
        return False, f"{spec.metric} is worse than the champion's, the interval excludes zero"
    return False, f"{spec.metric} does not differ from the champion's beyond chance: the interval holds zero"


def _subject_to_guardrails(verdict: Verdict) -> Verdict:
    broken = [f"{rail.name} is {rail.value:.4f}" for rail in verdict.guardrails if not rail.passed]
    if not broken:
        return verdict
    reason = f"guardrail broken: {', '.join(broken)}; otherwise: {verdict.reason}"
    return verdict.model_copy(update={"promote": False, "reason": reason})


def _checked_blocks(test: TestRows) -> Codes:
    n = len(test.y)
    if n == 0:
        raise TrainingError("gate: there are no test rows; let the training set have more periods than it holds back")
    columns: dict[str, Sequence[str] | NDArray[np.generic]] = {
        "keys": test.keys,
        "challenger": test.challenger,
        **{f"slice {column}={value}": rows for column, of in test.slices.items() for value, rows in of.items()},
    }
    if test.champion is not None:
        columns["champion"] = test.champion
    for name, values in columns.items():
        if len(values) != n:
            raise TrainingError(f"gate: {name} has {len(values)} rows for {n} outcomes; use the same test rows")
    return block_codes(test.keys)


def _value(name: str, y: Floats, predicted: Floats, who: str) -> float:
    bad = int(np.count_nonzero(~np.isfinite(predicted)))
    if bad:
        raise TrainingError(f"gate: {bad} of {len(y)} predictions of {who} are NaN or infinite; train it again")
    if not np.isfinite(y).all():
        raise TrainingError(
            "gate: there are test rows without an outcome; test only on partitions whose outcomes are complete"
        )
    value = metric(name).value(y, predicted)
    if not np.isfinite(value):
        raise TrainingError(
            f"gate: {name} of {who} is undefined on {len(y)} test rows with mean outcome {y.mean():.3f} "
            f"(one class only?); raise training.test_periods"
        )
    return value


def _slices(
    test: TestRows, blocks: Codes, spec: GateSpec
) -> tuple[dict[str, SliceEvidence], list[Guardrail], list[str]]:
    """Return the evidence of each slice that the spec names, its guardrails, and remarks on slices too small."""
    shown: dict[str, SliceEvidence] = {}
    rails: list[Guardrail] = []
    remarks: list[str] = []
    for column, gate in spec.slices.items():
        found = {
            f"{column}={value}": _slice(f"{column}={value}", rows, test, blocks, gate)
            for value, rows in test.slices.get(column, {}).items()
        }
        if not found:
            raise TrainingError(f"gate: there are no slices by {column}; name a column of the test rows")
        if not any(one.judged for one in found.values()):
            remarks.append(
                f"no slice by {column} has {gate.min_rows} rows in {gate.min_blocks} blocks, so none of them was judged"
            )
        shown |= found
        for name, one in found.items():
            rails += guardrails.slice_guardrails(name, one, gate)
    return shown, rails, remarks


def _slice(name: str, rows: NDArray[np.bool_], test: TestRows, blocks: Codes, gate: SliceGate) -> SliceEvidence:
    if not rows.any():
        raise TrainingError(
            f"gate: slice {name} has no test rows; drop it from the spec or raise training.test_periods"
        )
    return guardrails.of_slice(rows, test.y, blocks, test.challenger, test.champion, gate)
