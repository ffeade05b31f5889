"""The results: ratios, growth, the JSON file of each benchmark and the page of all."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from include.core.repository import REPOSITORY
from tests.benchmarks.cases import Call, Row, Target

COMMITTED = Path(__file__).parent / "results"
MEASURES = ("seconds", "cpu", "memory", "peak")


@dataclass
class Outcome:
    """The measurements of one row.

    Attributes:
        row: the row.
        runs: measurements by label of the call.
        faults: reason of a failure by label of the call.
    """

    row: Row
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def median(self, label: str, measure: str) -> float | None:
        """Return the median of the measurements; None if there are none, or none has such a fact."""
        values = [run.get(measure, run["facts"].get(measure)) for run in self.runs.get(label, [])]
        kept = [float(value) for value in values if value is not None]
        return statistics.median(kept) if kept else None

    def disagreeing(self) -> list[str]:
        """List the labels whose answer differs from the subject's: a fast wrong answer is no result."""
        answers = {label: runs[0]["facts"].get("answer") for label, runs in self.runs.items() if runs}
        ours = answers.get(self.row.subject.label)
        units = {call.label: call.units for call in self.row.calls}
        return [
            label
            for label, answer in answers.items()
            if None not in (answer, ours) and not _same(answer, ours) and units[label] is None
        ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) or isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return bool(one == other)


def folder(scale: str) -> Path:
    """Return the folder of the results: full scale beside the code, smaller scales under ``var/``."""
    return COMMITTED if scale == "full" else REPOSITORY / "var" / "bench" / f"results-{scale}"


def as_json(name: str, scale: str, machine: Mapping[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Collect the data of the page, and the single measurements."""
    by_name = {outcome.row.name: outcome for outcome in outcomes}
    return {
        "benchmark": name,
        "scale": scale,
        "machine": dict(machine),
        "rows": [
            {
                "name": outcome.row.name,
                "size": outcome.row.size,
                "unit": outcome.row.unit,
                "calls": [_call(outcome, call) for call in outcome.row.calls],
                "targets": [_judged(target, outcome, by_name) for target in outcome.row.targets],
                "disagreeing": outcome.disagreeing(),
            }
            for outcome in outcomes
        ],
        "growth": _growth(outcomes),
    }


def _call(outcome: Outcome, call: Call) -> dict[str, Any]:
    runs = outcome.runs.get(call.label, [])
    return {
        "label": call.label,
        "units": call.units or outcome.row.size,
        "fault": outcome.faults.get(call.label),
        "median": {measure: outcome.median(call.label, measure) for measure in MEASURES},
        "runs": runs,
    }


def _judged(target: Target, outcome: Outcome, by_name: Mapping[str, Outcome]) -> dict[str, Any]:
    ours = _value(target, outcome, outcome.row.subject)
    found = ours
    if target.against is not None:
        other = by_name.get(target.against, outcome)
        calls = {call.label: call for call in other.row.calls}
        theirs = _value(target, other, calls.get(target.against, other.row.subject))
        found = None
        if ours is not None and theirs is not None:
            above, below = (theirs, ours) if target.faster else (ours, theirs)
            found = above / below if below else None
    reached = None if found is None else (found >= target.bound if target.faster else found <= target.bound)
    return {"text": target.text or _text(target), "value": found, "bound": target.bound, "reached": reached}


def _value(target: Target, outcome: Outcome, call: Call) -> float | None:
    found = outcome.median(call.label, target.measure)
    if found is None or target.against is None or not target.per_unit or target.measure in ("memory", "peak"):
        return found
    return found / (call.units or outcome.row.size)


def _text(target: Target) -> str:
    sign = ">=" if target.faster else "<="
    what = {"seconds": "time", "cpu": "CPU"}.get(target.measure, target.measure)
    if target.against is None:
        return f"{what} {sign} {target.bound:g}"
    return f"{what} {sign} {target.bound:g}x {target.against}"


def _growth(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the growth exponent of each series, from its smallest to its largest row: 1 is linear."""
    found = []
    for series in dict.fromkeys(outcome.row.series for outcome in outcomes if outcome.row.series):
        members = [o for o in outcomes if o.row.series == series and o.median(o.row.subject.label, "seconds")]
        if len(members) < 2:
            continue
        least, most = members[0], members[-1]
        label = (least.row.subject.label, most.row.subject.label)
        times = (least.median(label[0], "seconds") or 0, most.median(label[1], "seconds") or 0)
        exponent = math.log(times[1] / times[0]) / math.log(most.row.size / least.row.size)
        found.append({"series": series, "from": least.row.size, "to": most.row.size, "exponent": exponent})
    return found


def write(result: Mapping[str, Any], into: Path) -> None:
    """Write one benchmark's result, and the page of all results in the folder."""
    into.mkdir(parents=True, exist_ok=True)
    (into / f"{result['benchmark']}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(into.glob("*.json")))
    kept = [each for each in found if "benchmark" in each]
    (into / "README.md").write_text("\n".join(_page(kept)), encoding="utf-8")


def _page(kept: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "# Results",
        "",
        "Made by `make bench`; see [performance.md](../../../docs/performance.md) for what is compared with what.",
        "Medians; memory is the peak above what was loaded before the work, peak that of the whole process. Where the",
        "CPU time of a day and of a backfill goes is in [profile.md](profile.md) (`make bench-profile`).",
        "",
    ]
    for result in kept:
        lines += [f"## {result['benchmark']}", "", _measured_on(result["machine"]), "", *tables(result)]
    return lines


def tables(result: Mapping[str, Any]) -> list[str]:
    """Render one benchmark's part of the page: measurements, targets, growth."""
    lines = ["| work | | seconds | CPU s | memory MB | peak MB | runs | |", "|---|---|--:|--:|--:|--:|--:|---|"]
    for row in result["rows"]:
        lines += [_line(row, call, first=call is row["calls"][0]) for call in row["calls"]]
    lines += ["", "| work | target | found | |", "|---|---|--:|---|"]
    for row in result["rows"]:
        lines += [_target_line(row, target) for target in row["targets"]]
        lines += [f"| {row['name']} | same answer as {label} | no | **missed** |" for label in row["disagreeing"]]
    lines += [""]
    for growth in result["growth"]:
        span = f"{growth['from']:,} to {growth['to']:,}"
        lines += [f"Growth of {growth['series']} from {span}: exponent {growth['exponent']:.2f}.", ""]
    return lines


def _measured_on(machine: Mapping[str, Any]) -> str:
    busy = " (**the machine was not quiet**)" if machine.get("busy") else ""
    return (
        f"{machine['when'][:10]}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['threads']} threads, {machine.get('file_us', '?')} us a new file, "
        f"load {machine['load_at_start']} at start{busy}, "
        f"commit `{machine['commit'][:12]}{'-dirty' if machine['commit'].endswith('-dirty') else ''}`."
    )


def _line(row: Mapping[str, Any], call: Mapping[str, Any], *, first: bool) -> str:
    what = f"**{row['name']}** ({row['size']:,} {row['unit']})" if first else ""
    label = call["label"] if call["units"] == row["size"] else f"{call['label']} ({call['units']:,} {row['unit']})"
    if call["fault"]:
        return f"| {what} | {label} | {call['fault'].replace('|', '/')[:120]} | | | | | |"
    cells = [_number(call["median"][measure]) for measure in MEASURES]
    return f"| {what} | {label} | {' | '.join(cells)} | {len(call['runs'])} | {_facts(call['runs'])} |"


def _facts(runs: Sequence[Mapping[str, Any]]) -> str:
    """Render the facts of the measurements, numbers as medians."""
    names = dict.fromkeys(name for run in runs for name in run["facts"] if name != "answer")
    told = []
    for name in names:
        values = [run["facts"][name] for run in runs if name in run["facts"]]
        if all(isinstance(value, int | float) for value in values):
            told.append(f"{name} {_number(float(statistics.median(values)), whole=isinstance(values[0], int))}")
        elif values[-1]:
            told.append(f"{name} {', '.join(map(str, values[-1]))}")
    return "; ".join(told).replace("|", "/")


def _target_line(row: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    verdict = {True: "reached", False: "**missed**", None: "not measured"}[target["reached"]]
    return f"| {row['name']} | {target['text']} | {_number(target['value'])} | {verdict} |"


def _number(value: float | None, *, whole: bool = False) -> str:
    if value is None:
        return ""
    if whole:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.4f}"
