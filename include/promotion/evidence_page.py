"""A verdict as Markdown, for the person who decides on the promotion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from include.core.templates import render
from include.promotion.gates import Verdict
from include.promotion.guardrails import Guardrail, SliceEvidence
from include.promotion.reproduction import Reproduction
from include.spec.gates import Bound

_TEMPLATES = Path(__file__).parent / "templates"


def markdown(verdict: Verdict, reproduced: Reproduction, links: Sequence[tuple[str, str]]) -> str:
    """Return the evidence behind a verdict; ``links`` are titles and addresses of further pages."""
    return render(
        _TEMPLATES,
        "evidence.md.j2",
        verdict=verdict,
        reproduced=reproduced,
        comparison=_comparison(verdict),
        guardrails=[_guardrail(rail) for rail in verdict.guardrails],
        slices=[_slice(name, found) for name, found in verdict.slices.items()],
        links=links,
    )


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """Return a figure with its 95 % interval."""
    if value is None:
        return "undefined"
    bounds = "" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]"
    return f"{value:+.4f}{bounds}"


def bounds(bound: Bound) -> str:
    """Return the accepted values in words."""
    low = "" if bound.min is None else f"at least {bound.min:g}"
    high = "" if bound.max is None else f"at most {bound.max:g}"
    return " and ".join(filter(None, (low, high)))


def _comparison(verdict: Verdict) -> tuple[str, ...]:
    champion = "none yet" if verdict.champion_value is None else f"{verdict.champion_value:.4f}"
    difference = "" if verdict.difference is None else interval(verdict.difference, verdict.low, verdict.high)
    return verdict.metric, f"{verdict.value:.4f}", champion, difference, str(verdict.n_days), f"{verdict.n_rows:,}"


def _guardrail(rail: Guardrail) -> tuple[str, ...]:
    return rail.name, f"{rail.value:.4f}", bounds(rail.bound), "yes" if rail.passed else "NO"


def _slice(name: str, found: SliceEvidence) -> tuple[str, ...]:
    ours, theirs = ("" if value is None else f"{value:.4f}" for value in (found.challenger, found.champion))
    return name, found.metric, ours, theirs, f"{found.n_rows:,}", "yes" if found.judged else "too small"
