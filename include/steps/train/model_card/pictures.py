"""The pictures of a card: reliability, importance, slices, and the learning curves of the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from include.steps.train.model_card.blocks import Picture
from include.steps.train.model_card.curves import Curve
from include.steps.train.model_card.drawing import COLOURS, INK, MUTED, RULE, plot, short
from include.training.judging.evidence import Bin, Slice

_SHOWN_FEATURES, _SHOWN_SLICES = 15, 14
_MEANS = {
    "binary": "share of {label}, 0 to 1",
    "regression": "mean of {label}, in the label's unit",
    "multiclass": "share of rows with the right {label}, 0 to 1",
}
"""The figure of which predicted and observed means are compared, by task; see ``predictions.in_one_number``."""
_NAMES, _ROW = 2.3, 0.27  # inches for the names of rows, and for one row


def reliability(bins: Sequence[Bin], label: str = "label", task: str = "binary") -> Picture:
    """Draw observed against predicted means, a tenth of the rows each, with the line of perfect calibration."""
    predicted, observed = [one.predicted for one in bins], [one.observed for one in bins]
    low, high = _range([*predicted, *observed])
    gap = max(abs(one.predicted - one.observed) for one in bins)
    with plot("reliability", "Reliability in the test window", 4.2, 4.2) as drawn:
        axes = drawn.axes
        axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="perfect")
        axes.fill_between(predicted, predicted, observed, color=COLOURS[0], alpha=0.12, linewidth=0)
        axes.plot(predicted, observed, color=COLOURS[0], linewidth=2, label="model")
        for one in bins:
            (dot,) = axes.plot([one.predicted], [one.observed], "o", color=COLOURS[0], markersize=6, mec="white")
            drawn.hint(dot, f"{one.rows:,} rows: predicted {one.predicted:.3f}, observed {one.observed:.3f}")
        axes.set(xlim=(low, high), ylim=(low, high))
        axes.set(xlabel=f"predicted {_mean(label, task)}", ylabel=f"observed {_mean(label, task)}")
        drawn.legend()
        return drawn.picture(f"Reliability in {len(bins)} bins of equal size; the largest gap is {gap:.3f}.")


def importance(found: Mapping[str, float]) -> Picture:
    """Draw the most important features as bars."""
    top = list(found.items())[:_SHOWN_FEATURES]
    with plot("importance", "Feature importance", 5.7, _height(len(top)), left=_NAMES, top=0.4) as drawn:
        axes = drawn.axes
        for row, (name, value) in enumerate(top):
            bar = axes.barh(row, value, height=0.62, color=COLOURS[0]).patches[0]
            drawn.hint(bar, f"{name}: {value:.4g}")
            axes.annotate(
                f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}",
                (max(value, 0.0), row),
                (5, 0),
                textcoords="offset points",
                va="center",
                color=MUTED,
            )
        drawn.rows([name for name, _ in top])
        largest = max((abs(value) for _, value in top), default=0.0) or 1.0
        axes.set_xlim(min(0.0, *(value for _, value in top), 0.0), 1.12 * largest)
        axes.set_xlabel("importance, in the unit of the model's family")
        return drawn.picture(f"Feature importance, largest first: {', '.join(name for name, _ in top[:5])}.")


def slices(found: Sequence[Slice], label: str = "label", task: str = "binary") -> Picture:
    """Draw predicted and observed mean of the largest slices."""
    shown = sorted(found, key=lambda one: (-one.rows, one.column, str(one.value)))[:_SHOWN_SLICES]
    with plot(
        "slices", "Largest slices in the test window", 4.85, _height(len(shown)), left=_NAMES, right=1.0
    ) as drawn:
        axes = drawn.axes
        for row, one in enumerate(shown):
            name = f"{one.column}={one.value}"
            axes.plot([one.predicted_mean, one.label_mean], [row, row], color=RULE, linewidth=3, zorder=1)
            for kind, mean, colour in (
                ("predicted", one.predicted_mean, COLOURS[0]),
                ("observed", one.label_mean, COLOURS[1]),
            ):
                (dot,) = axes.plot(
                    [mean], [row], "o", color=colour, markersize=7, mec="white", label=kind if row == 0 else None
                )
                drawn.hint(dot, f"{name}: {kind} {mean:.3f}, {one.rows:,} rows")
            axes.annotate(
                f"{one.rows:,} rows", (1.01, row), xycoords=("axes fraction", "data"), va="center", color=MUTED
            )
        drawn.rows([f"{one.column}={one.value}" for one in shown])
        axes.set_xlim(_range([mean for one in shown for mean in (one.predicted_mean, one.label_mean)]))
        axes.set_xlabel(_mean(label, task))
        drawn.legend()
        return drawn.picture(f"Predicted and observed mean of the {len(shown)} largest slices.")


def learning_curves(found: Sequence[Curve], metric: str, winner: int) -> Picture | None:
    """Draw the metric after each step of every trial; None where no trial reported more than one step."""
    shown = [curve for curve in found if len(curve.points) > 1]
    if not shown:
        return None
    families = list(dict.fromkeys(curve.family for curve in shown))
    colours = {family: COLOURS[n % len(COLOURS)] for n, family in enumerate(families)}
    with plot("learning_curves", "Learning curves of the search", 7.25, 3.1) as drawn:
        axes = drawn.axes
        for curve in sorted(shown, key=lambda one: one.trial == winner):
            won, (step, value) = curve.trial == winner, curve.points[-1]
            width, alpha = (2.6, 1.0) if won else (1.1, 0.5)
            (line,) = axes.plot(*zip(*curve.points, strict=True), color=colours[curve.family], lw=width, alpha=alpha)
            hint = f"trial {curve.trial} ({curve.family}, {curve.state}): {value:.5g} after step {step}"
            drawn.hint(line, hint)
            (dot,) = axes.plot(
                [step], [value], "o", color=INK if won else colours[curve.family], markersize=5 if won else 3
            )
            drawn.hint(dot, hint)
        for family, colour in colours.items():
            axes.plot([], [], color=colour, linewidth=2, label=family)
        axes.plot([], [], "o", color=INK, markersize=5, label=f"trial {winner}, the winner")
        axes.set(xlim=(0, None), ylim=_clipped(shown), xlabel="training step (boosting round or epoch)")
        axes.set_ylabel(f"{metric} on the validation window")
        drawn.legend()
        return drawn.picture(
            f"{metric} on the validation window by step, {len(shown)} trials; the thick line is trial {winner}, "
            "the winner."
        )


def _mean(label: str, task: str) -> str:
    return _MEANS[task].replace("{label}", short(label))


def _height(rows: int) -> float:
    return _ROW * max(rows, 1)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or 0.05
    return low - room, high + room


def _clipped(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the range of final, best and early values; a bad start would flatten the rest of the curves."""
    ends = [curve.points[-1][1] for curve in curves]
    bests = [min(value for _, value in curve.points) for curve in curves]
    mids = [curve.points[len(curve.points) // 4][1] for curve in curves]
    return _range([*ends, *bests, *mids])
