"""The Evidently page is bounded, repeatable, and says where its sample judges otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from include.core.errors import LifecycleError
from include.monitoring import drift, drift_report
from include.spec.monitoring import DriftSpec


def frames(rows: int, columns: int, shift: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(3)
    old = {f"n{i}": rng.normal(size=rows) for i in range(columns)} | {"c": rng.choice(["a", "b", None], rows)}
    new = {f"n{i}": rng.normal(shift, 1, rows) for i in range(columns)} | {"c": rng.choice(["a", "b"], rows)}
    return pd.DataFrame(old), pd.DataFrame(new)


def decided(old: pd.DataFrame, new: pd.DataFrame) -> list[drift.ColumnDrift]:
    numeric = tuple(name for name in old if name != "c")
    profile = drift.profile(pa.Table.from_pandas(old), numeric, ("c",))
    return drift.decide(profile, pa.Table.from_pandas(new), DriftSpec())


def test_a_page_of_many_columns_stays_under_six_megabytes(tmp_path: Path) -> None:
    old, new = frames(6_000, 34, 0.5)
    decision = decided(old, new)
    report = drift_report.write(old, new, decision, tmp_path / "flights", categorical=["c"], spec=DriftSpec())
    assert Path(report.html).stat().st_size < 6_000_000
    assert len(report.left_out) == 35 - drift_report.MAX_COLUMNS
    assert report.disagreeing == {}
    record = json.loads(Path(report.json).read_text())
    assert record["sample_rows"] == {"reference": 5_000, "current": 5_000}
    assert {entry["column"] for entry in record["decision_on_all_rows"]} == set(old)
    assert sorted(path.name for path in (tmp_path / "flights").iterdir()) == ["report.html", "report.json"]


def test_a_sample_that_judges_otherwise_is_named(tmp_path: Path) -> None:
    old, new = frames(2_000, 1, 0.0)
    decision = decided(old, new)
    other = [
        drift.ColumnDrift(v.column, v.method, 0.2, v.threshold, v.column == "n0", v.n_reference, v.n_current)
        for v in decision
    ]
    report = drift_report.write(old, new, other, tmp_path, categorical=["c"], spec=DriftSpec())
    assert list(report.disagreeing) == ["n0"]
    assert "all 2000 and 2000 values give 0.2000" in report.disagreeing["n0"]


def test_writing_again_replaces_the_page_by_the_same_one(tmp_path: Path) -> None:
    old, new = frames(7_000, 2, 0.2)
    first = drift_report.write(old, new, decided(old, new), tmp_path, categorical=["c"], spec=DriftSpec())
    before = json.loads(Path(first.json).read_text())
    drift_report.write(old, new, decided(old, new), tmp_path, categorical=["c"], spec=DriftSpec())
    assert json.loads(Path(first.json).read_text()) == before


def test_a_column_without_values_is_left_out_of_the_page(tmp_path: Path) -> None:
    old, new = frames(1_500, 2, 0.0)
    new["n1"] = np.nan
    report = drift_report.write(old, new, decided(old, new), tmp_path, categorical=["c"], spec=DriftSpec())
    assert report.left_out == ("n1",)


def test_a_sample_without_a_decided_column_is_refused(tmp_path: Path) -> None:
    old, new = frames(1_500, 2, 0.0)
    lacking = new.drop(columns="n1")
    with pytest.raises(LifecycleError, match="lacks n1"):
        drift_report.write(old, lacking, decided(old, new), tmp_path, categorical=["c"], spec=DriftSpec())
    assert not list(tmp_path.iterdir())


def test_the_page_says_what_was_decided_on_all_rows_and_columns(tmp_path: Path) -> None:
    old, new = frames(2_000, 34, 0.5)
    report = drift_report.write(old, new, decided(old, new), tmp_path, categorical=["c"], spec=DriftSpec())
    page = Path(report.html).read_text()
    assert "The window drifted.</b> Decided on all rows, 34 of 35 feature columns drifted, 97%; it takes 50%" in page
    assert f"the {drift_report.MAX_COLUMNS} columns that moved most" in page


def test_the_page_says_that_a_window_did_not_drift_though_every_column_shown_did(tmp_path: Path) -> None:
    old, new = frames(2_000, 34, 0.5)
    patient = DriftSpec(drift_share=0.99)
    report = drift_report.write(old, new, decided(old, new), tmp_path, categorical=["c"], spec=patient)
    assert "The window did not drift.</b>" in Path(report.html).read_text()


def test_the_page_judges_by_the_thresholds_of_the_decision(tmp_path: Path) -> None:
    old, new = frames(2_000, 3, 0.3)
    numeric = ("n0", "n1", "n2")
    profile = drift.profile(pa.Table.from_pandas(old), numeric, ("c",))
    patient = drift.decide(profile, pa.Table.from_pandas(new), DriftSpec(distance_threshold=0.5))
    report = drift_report.write(old, new, patient, tmp_path, categorical=["c"], spec=DriftSpec())
    assert report.disagreeing == {}


@pytest.mark.parametrize(
    "values",
    [
        np.full(2_000, np.inf),
        np.where(np.arange(2_000) == 7, 1.7e308, np.arange(2_000.0)),
        np.where(np.arange(2_000) == 7, np.inf, np.arange(2_000.0)),
        2.0**53 + 2 * (np.arange(2_000.0) % 7),
        1e300 * np.arange(1.0, 2_001.0),
        np.full(2_000, 5e-324),
    ],
    ids=["all infinite", "one 1.7e308", "one infinite", "close together", "all huge", "denormal"],
)
@pytest.mark.parametrize("where", ["reference", "current", "both"])
def test_an_edge_value_costs_neither_verdict_nor_page(tmp_path: Path, values: np.ndarray, where: str) -> None:
    """C31: the reference is stored with the model, so that training again would repeat the fault."""
    old, new = frames(2_000, 2, 0.0)
    if where != "current":
        old["n1"] = values
    if where != "reference":
        new["n1"] = values
    profile = drift.profile(pa.Table.from_pandas(old), ("n0", "n1"), ("c",))
    kept = drift.ReferenceProfile.model_validate_json(profile.model_dump_json())
    assert kept == profile
    decision = drift.decide(kept, pa.Table.from_pandas(new), DriftSpec())
    verdict = {one.column: one.drifted for one in decision}
    assert verdict["n1"] is (where != "both")
    assert np.isfinite([one.statistic for one in decision]).all()
    report = drift_report.write(old, new, decision, tmp_path, categorical=["c"], spec=DriftSpec())
    page = Path(report.html).read_text()
    assert ("n1" in report.left_out) is ("cannot draw them: n1." in page)
    assert "n0" not in report.left_out


def test_a_page_of_which_no_column_can_be_drawn_still_has_the_decision(tmp_path: Path) -> None:
    """C31: a window without values is decided by what it lacks."""
    old, new = frames(2_000, 1, 0.0)
    new["n0"], new["c"] = np.inf, None
    report = drift_report.write(old, new, decided(old, new), tmp_path, categorical=["c"], spec=DriftSpec())
    page = Path(report.html).read_text()
    assert "The window drifted.</b> Decided on all rows, 2 of 2 feature columns drifted" in page
    assert "cannot draw them: c, n0." in page
    assert json.loads(Path(report.json).read_text())["evidently"] is None


def test_a_window_without_rows_has_a_page(tmp_path: Path) -> None:
    """C31: a day may rightly be empty."""
    old, new = frames(2_000, 1, 0.0)
    report = drift_report.write(old, new.iloc[:0], [], tmp_path, categorical=["c"], spec=DriftSpec())
    assert "The window has no rows.</b>" in Path(report.html).read_text()
