"""A verdict as Markdown, for a person who decides by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from include.promotion.gates import Verdict
from include.promotion.guardrails import Guardrail, SliceEvidence
from include.promotion.reproduction import Reproduction
from include.spec.gates import Bound


def markdown(verdict: Verdict, reproduced: Reproduction, links: Sequence[tuple[str, str]]) -> str:
    """The evidence behind a verdict; ``links`` are titles and addresses of what to read further."""
    parts = [
        f"**{'The gates recommend promotion' if verdict.promote else 'The gates refuse promotion'}**: "
        f"{escape(verdict.reason)}.",
        _comparison(verdict),
        _guardrails(verdict.guardrails),
        _slices(verdict),
        f"A new process reproduced {reproduced.rows:,} stored predictions to within "
        f"{reproduced.largest_difference:.1g}.",
        *(f"Note: {escape(remark)}." for remark in verdict.remarks),
        "\n".join(f"- {escape(title)}: {address}" for title, address in links),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first row names the columns."""
    head, *body = ([escape(cell) for cell in row] for row in rows)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """``text`` so that Markdown shows it as it is: no table cell, link or tag can be smuggled in."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """A figure with its 95 % interval."""
    if value is None:
        return "undefined"
    bounds = "" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]"
    return f"{value:+.4f}{bounds}"


def _comparison(verdict: Verdict) -> str:
    head = ("figure", "challenger", "champion", "difference, 95 % interval", "days", "rows")
    champion = "none yet" if verdict.champion_value is None else f"{verdict.champion_value:.4f}"
    difference = "" if verdict.difference is None else interval(verdict.difference, verdict.low, verdict.high)
    row = (verdict.metric, f"{verdict.value:.4f}", champion, difference, str(verdict.n_days), f"{verdict.n_rows:,}")
    return table([head, row])


def _guardrails(rails: Sequence[Guardrail]) -> str:
    if not rails:
        return ""
    rows = [(rail.name, f"{rail.value:.4f}", bounds(rail.bound), "yes" if rail.passed else "NO") for rail in rails]
    return table([("guardrail", "value", "accepted", "met"), *rows])


def bounds(bound: Bound) -> str:
    """Accepted values in words."""
    low = "" if bound.min is None else f"at least {bound.min:g}"
    high = "" if bound.max is None else f"at most {bound.max:g}"
    return " and ".join(filter(None, (low, high)))


def _slices(verdict: Verdict) -> str:
    if not verdict.slices:
        return ""
    rows = [_slice(name, found) for name, found in verdict.slices.items()]
    return table([("slice", "metric", "challenger", "champion", "rows", "judged"), *rows])


def _slice(name: str, found: SliceEvidence) -> tuple[str, ...]:
    ours, theirs = ("" if value is None else f"{value:.4f}" for value in (found.challenger, found.champion))
    return name, found.metric, ours, theirs, f"{found.n_rows:,}", "yes" if found.judged else "too small"
