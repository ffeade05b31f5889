"""The pictures of a card: reliability, importance, slices, and the learning curves of the sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from include.steps.train.model_card.blocks import Picture
from include.steps.train.model_card.curves import Curve
from include.steps.train.model_card.drawing import COLOURS, INK, MUTED, Plot
from include.training.judging.evidence import Bin, Slice

_SHOWN_FEATURES, _SHOWN_SLICES = 15, 14
_NAMES_PX = 210.0


def reliability(bins: Sequence[Bin]) -> Picture:
    """Observed against predicted, a tenth of the rows each, with the line of perfect calibration."""
    low, high = _range([value for one in bins for value in (one.predicted, one.observed)])
    plot = Plot("Reliability", (low, high), (low, high), "predicted", "observed", width=420, height=400)
    plot.line([(low, low), (high, high)], MUTED, 1, dashed=True)
    plot.line([(one.predicted, one.observed) for one in bins], COLOURS[0])
    for one in bins:
        says = f"{one.rows} rows: predicted {one.predicted:.3f}, observed {one.observed:.3f}"
        plot.dot(one.predicted, one.observed, COLOURS[0], says)
    gap = max(abs(one.predicted - one.observed) for one in bins)
    says = f"Reliability in {len(bins)} bins of equal size; the largest gap is {gap:.3f}."
    return Picture("reliability", says, plot.svg(says))


def importance(found: Mapping[str, float]) -> Picture:
    """The most important features as bars."""
    top = list(found.items())[:_SHOWN_FEATURES]
    largest = max((abs(value) for _, value in top), default=0.0) or 1.0
    low = min(0.0, *(value for _, value in top), 0.0)
    plot = _rows("Feature importance", (low, largest), len(top), "in the family's own unit")
    for row, (name, value) in enumerate(reversed(top)):
        plot.row_label(row, _short(name))
        plot.bar(row, value, COLOURS[0], f"{name}: {value:.4g}")
    says = f"Feature importance, largest first: {', '.join(name for name, _ in top[:5])}."
    return Picture("importance", says, plot.svg(says, y_ticks=False))


def slices(found: Sequence[Slice]) -> Picture:
    """Predicted and observed mean of the largest slices."""
    shown = sorted(found, key=lambda one: (-one.rows, one.column, str(one.value)))[:_SHOWN_SLICES]
    low, high = _range([value for one in shown for value in (one.predicted_mean, one.label_mean)])
    plot = _rows("Largest slices", (low, high), len(shown), "mean label and mean prediction")
    for row, one in enumerate(reversed(shown)):
        name = f"{one.column}={one.value}"
        plot.row_label(row, _short(name))
        plot.line([(one.predicted_mean, row), (one.label_mean, row)], MUTED, 1)
        plot.dot(one.predicted_mean, row, COLOURS[0], f"{name}: predicted {one.predicted_mean:.3f}, {one.rows} rows")
        plot.dot(one.label_mean, row, COLOURS[1], f"{name}: observed {one.label_mean:.3f}, {one.rows} rows")
    plot.legend([("predicted", COLOURS[0]), ("observed", COLOURS[1])])
    says = f"Predicted and observed mean of the {len(shown)} largest slices."
    return Picture("slices", says, plot.svg(says, y_ticks=False))


def learning_curves(found: Sequence[Curve], metric: str, winner: int) -> Picture | None:
    """The metric after each step of every trial; None where no trial reported more than one step."""
    drawn = [curve for curve in found if len(curve.points) > 1]
    if not drawn:
        return None
    families = list(dict.fromkeys(curve.family for curve in found))
    colours = {family: COLOURS[n % len(COLOURS)] for n, family in enumerate(families)}
    last = max(step for curve in drawn for step, _ in curve.points)
    plot = Plot("Learning curves of the sweep", (0, last), _clipped(drawn), "step", metric, width=640)
    for curve in sorted(drawn, key=lambda one: one.trial == winner):
        width = 3.0 if curve.trial == winner else 1.2
        low, high = plot.y
        plot.line([(step, min(max(value, low), high)) for step, value in curve.points], colours[curve.family], width)
        step, value = curve.points[-1]
        says = f"trial {curve.trial} ({curve.family}, {curve.state}): {value:.5g} after step {step}"
        plot.dot(step, min(max(value, low), high), INK if curve.trial == winner else colours[curve.family], says, 3)
    plot.legend([(family, colours[family]) for family in families])
    says = f"{metric} on the validation days by step, {len(drawn)} trials; the thick line is trial {winner}, which won."
    return Picture("learning_curves", says, plot.svg(says))


def _rows(title: str, x: tuple[float, float], rows: int, label: str) -> Plot:
    return Plot(title, x, (-0.6, rows - 0.4), label, height=90 + 22 * max(rows, 1), left=_NAMES_PX)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or 0.05
    return low - room, high + room


def _clipped(curves: Sequence[Curve]) -> tuple[float, float]:
    """The range of what curves end at and their best; a hopeless start would flatten all the rest."""
    ends = [curve.points[-1][1] for curve in curves]
    bests = [min(value for _, value in curve.points) for curve in curves]
    mids = [curve.points[len(curve.points) // 4][1] for curve in curves]
    return _range([*ends, *bests, *mids])


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"
