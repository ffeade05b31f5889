"""The monitor publishes what it saw, judges predictions when their outcomes are there, and asks once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from include.core.errors import MissingPartitions
from include.monitoring import window_verdicts
from include.monitoring.window_verdicts import Figure
from include.spec.scoring import RecalibrationSpec, ScoringSpec
from include.steps import monitor
from include.steps.score import recalibration
from include.steps.workspace import Workspace
from tests.unit import chain

SCORES = "autumn/predictions/scores"
VERDICTS, REQUESTS = "autumn/monitoring/verdicts", "autumn/monitoring/requests"
NEWEST = chain.LAST


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Monitor the first scored day, and a day by which the outcomes of the first have arrived."""
    workspace = chain.copy(chain.trained(), tmp_path_factory.mktemp("monitor"))
    for day in (chain.AS_OF, "2013-11-08"):
        by = chain.attempt(day, "autumn_monitor")
        chain.publish(workspace, monitor.stage(workspace, chain.span(day), by), by)
    return workspace


def verdicts(workspace: Workspace, key: str) -> pa.Table:
    return chain.rows_of(workspace, VERDICTS, key)


def test_a_window_has_its_verdicts_and_its_report(watched: Workspace) -> None:
    rows = verdicts(watched, chain.AS_OF)
    whole = rows.filter(pc.is_null(rows["column"]))
    assert {"data_drift", "prediction_drift"} == set(whole["kind"].to_pylist())
    assert rows.filter(pc.is_valid(rows["column"])).num_rows > 100
    assert rows["model_version"].unique().to_pylist() == [1]
    (report,) = rows["report"].unique().to_pylist()
    assert "<html" in Path(report).read_text(encoding="utf-8")[:2000]


def test_quality_appears_when_outcomes_have_arrived(watched: Workspace) -> None:
    assert "quality" not in verdicts(watched, chain.AS_OF)["kind"].to_pylist()
    rows = verdicts(watched, "2013-11-08")
    figures = {row["metric"]: row for row in rows.to_pylist() if row["kind"] == "quality"}
    assert {"log_loss", "auc", "observed_mean", "predicted_mean", "calibration_gap"} <= set(figures)
    # outcomes are whole for days up to two before the window's clock: those of the first two scored days
    scored = [
        watched.lake.records("autumn/predictions/scores", [day])[day].rows for day in ("2013-11-05", "2013-11-06")
    ]
    assert figures["log_loss"]["n"] == sum(scored)
    assert 0 < figures["observed_mean"]["value"] < 0.5


def test_watching_again_changes_nothing(watched: Workspace) -> None:
    before = chain.versions(watched.lake)
    by = chain.attempt("again", "autumn_monitor")
    chain.publish(watched, monitor.stage(watched, chain.span(chain.AS_OF), by), by)
    assert chain.versions(watched.lake) == before


def test_a_day_without_predictions_is_named(watched: Workspace) -> None:
    with pytest.raises(MissingPartitions, match="autumn/predictions/scores: 2013-11-04 not published"):
        monitor.stage(watched, chain.span("2013-11-04"), chain.attempt("early", "autumn_monitor"))


def test_a_day_that_is_rightly_empty_has_a_verdict(tmp_path: Path) -> None:
    """C31: published without rows is not "not published"."""
    workspace, day = chain.copy(chain.trained(), tmp_path), NEWEST
    schedule, by = "autumn/raw/schedule", chain.attempt("empty", "autumn_ingest")
    none = chain.rows_of(workspace, schedule, day).slice(0, 0)
    key = workspace.case.raw["schedule"].key
    workspace.lake.publish(workspace.lake.stage(schedule, none.to_reader(), [day], by, key), by)
    chain.compute_features(workspace, day, day, chain.attempt("empty", "autumn_features"))
    chain.score(workspace, day, day, chain.attempt("empty", "autumn_score"))
    assert workspace.lake.records(SCORES, [day])[day].rows == 0
    alone = workspace.case.monitoring.drift.model_copy(update={"window_periods": 1})
    monitoring = workspace.case.monitoring.model_copy(update={"drift": alone})
    for case in (workspace.case, workspace.case.model_copy(update={"monitoring": monitoring})):
        watching = Workspace(workspace.settings, case)
        by = chain.attempt(f"{case.monitoring.drift.window_periods} days", "autumn_monitor")
        chain.publish(watching, monitor.stage(watching, chain.span(day), by), by)
        rows = verdicts(watching, day)
        (share,) = rows.filter(pc.equal(rows["metric"], "drift_share")).to_pylist()
        assert share["model_version"] == 1
        assert (share["value"] is None) is (case is not workspace.case)
        assert (share["n"] == 0) is (case is not workspace.case)
        requested, _ = monitor.training_requested(watching, day, "scheduled", by)
        assert not requested


def test_an_offset_that_scoring_added_is_no_drift_of_the_model(
    watched: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prediction_drift(workspace: Workspace) -> dict[str, Any]:
        (row,) = [row for row in verdicts(workspace, key).to_pylist() if row["kind"] == "prediction_drift"]
        return row

    key, there = chain.AS_OF, chain.copy(chain.trained(), tmp_path)
    asked = ScoringSpec(recalibration=RecalibrationSpec(window_periods=3))
    shifted = Workspace(there.settings, there.case.model_copy(update={"scoring": asked}))
    monkeypatch.setattr(recalibration, "learn", lambda key, *_: recalibration.State(1.0, 1, key, key, 0.2, 0.4))
    chain.score(shifted, key, key, chain.attempt("shifted", "autumn_score"))
    means = [pc.mean(chain.rows_of(one, SCORES, key)["prediction"]).as_py() for one in (watched, shifted)]
    assert means[1] > 1.5 * means[0]
    by = chain.attempt("shifted", "autumn_monitor")
    chain.publish(shifted, monitor.stage(shifted, chain.span(key), by), by)
    plain, found = prediction_drift(watched), prediction_drift(shifted)
    assert plain["value"] == pytest.approx(found["value"], abs=1e-9)
    assert plain["value"] < plain["threshold"]
    # scored again without an offset, whose row in the table of offsets stays
    chain.score(there, key, key, chain.attempt("plain again", "autumn_score"))
    by = chain.attempt("plain again", "autumn_monitor")
    chain.publish(there, monitor.stage(there, chain.span(key), by), by)
    assert prediction_drift(there)["value"] == plain["value"]


# ---- asking for a training --------------------------------------------------------------------------


@pytest.fixture
def asking(tmp_path: Path) -> Workspace:
    """Set up a champion that has seen no day of the last fortnight, without a verdict."""
    workspace = chain.copy(chain.trained(), tmp_path)
    rule = workspace.case.monitoring.retraining.model_copy(update={"cooldown_periods": 3})
    relaxed = workspace.case.monitoring.model_copy(update={"retraining": rule})
    return Workspace(workspace.settings, workspace.case.model_copy(update={"monitoring": relaxed}))


def say(workspace: Workspace, **violated: bool) -> None:
    """Publish a verdict of each day, written as ``d10`` for 2013-11-10."""
    keys = {f"2013-11-{name[1:]}": value for name, value in violated.items()}
    rows = [
        window_verdicts.verdict_rows(
            key,
            1,
            workspace.case.monitoring,
            figures=[Figure("auc", 0.5, None, None, 0.55, value, 900)],
        )
        for key, value in sorted(keys.items())
    ]
    by = chain.attempt(f"verdicts {sorted(keys)}", "autumn_monitor")
    staged = workspace.lake.stage(VERDICTS, pa.concat_tables(rows).to_reader(), sorted(keys), by, ())
    workspace.lake.publish(staged, by)


def ask(workspace: Workspace, origin: str = "scheduled", key: str = NEWEST, name: str = "ask") -> tuple[bool, str]:
    return monitor.training_requested(workspace, key, origin, chain.attempt(name, "autumn_monitor"))


def requests(workspace: Workspace) -> list[str]:
    return workspace.lake.keys(REQUESTS)


def test_two_of_five_windows_and_the_newest_ask(asking: Workspace) -> None:
    say(asking, d07=True, d08=False, d09=False, d10=True)
    requested, reason = ask(asking)
    assert (requested, requests(asking)) == (True, [NEWEST])
    assert "2 of the last 5 windows violate: 2013-11-07, 2013-11-10; newest: quality auc" in reason
    row = asking.lake.dataset(REQUESTS, [NEWEST]).to_table().to_pylist()[0]
    assert (row["model_version"], row["reason"]) == (1, reason)


@pytest.mark.parametrize(
    "violated",
    [{"d09": False, "d10": True}, {"d08": True, "d09": True, "d10": False}],
    ids=["one window only", "not the newest"],
)
def test_fewer_do_not_ask(asking: Workspace, violated: dict[str, bool]) -> None:
    say(asking, **violated)
    assert ask(asking)[0] is False
    assert requests(asking) == []


def test_a_backfill_never_asks(asking: Workspace) -> None:
    say(asking, d08=True, d09=True, d10=True)
    assert ask(asking, "backfill") == (False, "a backfill monitors the past and never asks for a training")
    assert requests(asking) == []


def test_a_run_that_was_killed_asks_again_and_another_run_does_not(asking: Workspace) -> None:
    say(asking, d09=True, d10=True)
    assert ask(asking)[0] is True
    assert ask(asking)[0] is True
    assert ask(asking, "manual", name="another") == (False, ask(asking)[1] + "; ask asked for a training already")
    assert len([record for record in asking.lake.history(REQUESTS) if record.key == NEWEST]) == 1


def test_an_old_partition_does_not_repeat_what_a_later_one_asked(asking: Workspace) -> None:
    say(asking, d08=True, d09=True, d10=True)
    assert ask(asking)[0] is True
    requested, reason = ask(asking, "manual", key="2013-11-09", name="looking back")
    assert requested is False
    assert "the last request is of 2013-11-10" in reason
