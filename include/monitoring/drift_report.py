"""The Evidently report of a window: pictures of a seeded sample of bounded size, beside the decision on all rows."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from include.core.errors import LifecycleError
from include.core.files import replace_text
from include.core.templates import render
from include.monitoring.drift import ColumnDrift, DatasetDrift, dataset_verdict
from include.monitoring.profile import LARGEST
from include.spec.monitoring import DriftSpec

MAX_ROWS = 5_000
# the columns nearest to drifting; each takes 0.1 s of CPU time and 65 kB, beside 3.7 MB for the page itself
MAX_COLUMNS = 12
# Evidently's data, a polyfill, its library, and the call that draws
_SCRIPTS = 4
# styles, fonts and pictures are inline; a form or another base address would send data away
_NO_LOADING = "style-src 'unsafe-inline'; font-src data:; img-src data: blob:; form-action 'none'; base-uri 'none'"
_PLAIN = '<!doctype html><html><head><meta charset="utf-8"><title>Drift</title></head><body></body></html>'
_log = logging.getLogger(__name__)
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class DriftReport:
    """The files of a report, and how it relates to the decision.

    Attributes:
        html, json: the two files.
        disagreeing: columns for which the sample gives another verdict than all the rows, with the reason.
        left_out: decided columns that the page does not show: without values, beyond ``MAX_COLUMNS``, or such that
            Evidently cannot draw them.
    """

    html: str
    json: str
    disagreeing: Mapping[str, str]
    left_out: tuple[str, ...]


def write(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    decision: Sequence[ColumnDrift],
    folder: Path,
    *,
    categorical: Sequence[str],
    spec: DriftSpec,
    predictions: Sequence[str] = (),
    seed: int = 0,
) -> DriftReport:
    """Write ``report.html`` and ``report.json`` into ``folder``, each complete or not at all.

    ``reference`` and ``current`` have the decided columns. More than ``MAX_ROWS`` rows are sampled with ``seed``,
    so that the same window gives the same page. Columns nearest to drifting are shown first.
    ``spec`` has the share of columns from which a window has drifted; the columns ``predictions`` do not count.
    Without ``decision``, of a window without rows, and if no column can be drawn, the page says so and has no pictures.

    Raises:
        LifecycleError: a decided column is missing from a sample, or nothing but the prediction was decided.
    """
    # Evidently reads the variable at each event, so this also works if the library is imported already
    os.environ.setdefault("DO_NOT_TRACK", "1")
    whole = dataset_verdict(decision, spec, predictions=predictions) if decision else None
    nearest, left_out = _shown(decision)
    samples = [_sample(frame, nearest, categorical, seed) for frame in (reference, current)]
    shown = [verdict for verdict in nearest if all(frame[verdict.column].notna().any() for frame in samples)]
    snapshot, shown = _drawn(samples[0], samples[1], shown, categorical, spec.drift_share)
    found = {"metrics": [], "tests": []} if snapshot is None else snapshot.dict()
    disagreeing = _disagreeing(shown, found, [len(frame) for frame in samples])
    not_drawn = [verdict.column for verdict in nearest if verdict not in shown]
    left_out += not_drawn
    folder.mkdir(parents=True, exist_ok=True)
    shown_at, record = folder / "report.html", folder / "report.json"
    content = {
        "decision_on_all_rows": [asdict(verdict) for verdict in decision],
        "sample_rows": {"reference": len(samples[0]), "current": len(samples[1])},
        "sample_disagrees": disagreeing,
        "columns_left_out": left_out,
        "evidently": None if snapshot is None else json.loads(snapshot.json()),
    }
    replace_text(record, json.dumps(content, indent=1, sort_keys=True, allow_nan=True))
    page = _PLAIN if snapshot is None else snapshot.get_html_str(as_iframe=False)
    page = page.replace("<body>", f"<body>{_banner(whole, len(shown), samples, not_drawn)}", 1)
    replace_text(shown_at, _with_policy(page))
    return DriftReport(str(shown_at), str(record), disagreeing, tuple(left_out))


def _with_policy(page: str) -> str:
    """Return the page with a policy under which only Evidently's own scripts run, and nothing is loaded or sent.

    A browser runs a script only if its hash is in the policy. Evidently writes four; a fifth came out of the data.

    Raises:
        LifecycleError: the page has other scripts than those of the pinned release of Evidently.
    """
    scripts = re.findall(r"<script\b[^>]*>(.*?)</script", page, re.DOTALL | re.IGNORECASE)
    if len(scripts) not in (0, _SCRIPTS):
        raise LifecycleError(
            f"drift report: the page has {len(scripts)} scripts and not {_SCRIPTS}; "
            "compare file_html_template of the installed evidently with include/monitoring/drift_report.py"
        )
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{found}'" for found in hashes) or "'none'"
    # a sandbox cannot be asked for here: browsers obey it in a header only
    policy = f"default-src 'none'; script-src {allowed}; {_NO_LOADING}"
    return page.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{policy}">', 1)


def _banner(whole: DatasetDrift | None, n_shown: int, samples: Sequence[pd.DataFrame], not_drawn: Sequence[str]) -> str:
    """Return the decision for the top of the page: Evidently counts only the columns and rows that it was given."""
    rows = {"n_reference": len(samples[0]), "n_current": len(samples[1])}
    return render(_TEMPLATES, "drift_banner.html.j2", whole=whole, n_shown=n_shown, not_drawn=not_drawn, **rows)


def _shown(decision: Sequence[ColumnDrift]) -> tuple[list[ColumnDrift], list[str]]:
    ranked = sorted(decision, key=lambda verdict: (-_nearness(verdict), verdict.column))
    return ranked[:MAX_COLUMNS], [verdict.column for verdict in ranked[MAX_COLUMNS:]]


def _nearness(verdict: ColumnDrift) -> float:
    if verdict.method in ("wasserstein", "jensenshannon"):
        return verdict.statistic / verdict.threshold
    # a p-value falls as the columns move apart
    return 1.0 + verdict.threshold - verdict.statistic


def _sample(frame: pd.DataFrame, shown: Sequence[ColumnDrift], categorical: Sequence[str], seed: int) -> pd.DataFrame:
    columns = [verdict.column for verdict in shown]
    missing = [name for name in columns if name not in frame]
    if missing:
        raise LifecycleError(f"drift report: the sample lacks {', '.join(missing)}; give every decided column")
    sample = frame[columns]
    if len(sample) > MAX_ROWS:
        sample = sample.sample(MAX_ROWS, random_state=seed)
    typed = {
        name: sample[name].astype("object").where(sample[name].notna(), None)
        if name in categorical
        # Evidently draws no infinite number, and the decision leaves them out
        else (numbers := sample[name].astype("float64")).where(numbers.abs() <= LARGEST)
        for name in columns
    }
    return pd.DataFrame(typed).reset_index(drop=True)


def _drawn(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    shown: Sequence[ColumnDrift],
    categorical: Sequence[str],
    drift_share: float,
) -> tuple[Any | None, list[ColumnDrift]]:
    """Return Evidently's report and the columns in it, or ``None`` without any that can be drawn.

    A picture must not cost the verdict. Evidently fails as a whole, for example for large numbers that lie close
    together; then each column is tried alone.
    """
    if not shown:
        return None, []
    try:
        return _run(reference, current, shown, categorical, drift_share), list(shown)
    except Exception as error:
        if len(shown) == 1:
            _log.warning("Evidently cannot draw column %s (%s: %s)", shown[0].column, type(error).__name__, error)
            return None, []
    possible = [one for one in shown if _drawn(reference, current, [one], categorical, drift_share)[1]]
    if len(possible) == len(shown):
        _log.warning("Evidently draws each of %s alone and not together", [one.column for one in shown])
        return None, []
    return _drawn(reference, current, possible, categorical, drift_share)


def _run(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    shown: Sequence[ColumnDrift],
    categorical: Sequence[str],
    drift_share: float,
) -> Any:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    columns = [verdict.column for verdict in shown]
    # types that Evidently infers would make an hour of the day a category and a flight number text
    definition = DataDefinition(
        numerical_columns=[html.escape(name) for name in columns if name not in categorical],
        categorical_columns=[html.escape(name) for name in columns if name in categorical],
    )
    old, new = (Dataset.from_pandas(_escaped(frame[columns]), definition) for frame in (reference, current))
    thresholds = {html.escape(verdict.column): verdict.threshold for verdict in shown}
    preset = DataDriftPreset(columns=list(thresholds), drift_share=drift_share, per_column_threshold=thresholds)
    with threadpool_limits(1):
        return Report([preset], include_tests=True).run(new, old)


def _escaped(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with text and names escaped for HTML: Evidently writes both into scripts and tags as they are.

    Different texts stay different, so that no two categories are drawn as one.
    """
    safe = {
        html.escape(name): column.map(lambda value: html.escape(value) if isinstance(value, str) else value)
        if column.dtype == "object"
        else column
        for name, column in frame.items()
    }
    return pd.DataFrame(safe)


def _disagreeing(shown: Sequence[ColumnDrift], snapshot: Mapping[str, Any], rows: Sequence[int]) -> dict[str, str]:
    scores = {metric["id"]: (metric["config"], metric["value"]) for metric in snapshot["metrics"]}
    sampled: dict[str, tuple[bool, float]] = {}
    for test in snapshot["tests"]:
        config, value = scores[test["metric_config"]["metric_id"]]
        if "column" in config:
            sampled[config["column"]] = (test["status"] != "SUCCESS", float(value))
    return {
        verdict.column: (
            f"all {verdict.n_reference} and {verdict.n_current} values give {verdict.statistic:.4f}, "
            f"a sample of {rows[0]} and {rows[1]} gives {sampled[html.escape(verdict.column)][1]:.4f}"
        )
        for verdict in shown
        if sampled[html.escape(verdict.column)][0] != verdict.drifted
    }
