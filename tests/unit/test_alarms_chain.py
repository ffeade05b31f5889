"""Every step for hourly partitions, most of which are empty, with outcomes that come some hours late."""

from __future__ import annotations

import pyarrow.compute as pc
import pytest
from mlflow import MlflowClient

from include.core import partitions
from include.core.partitions import Span
from include.steps.plan import planning
from include.steps.score import predicting
from include.steps.train import rebuild, training_sets
from include.steps.workspace import Workspace
from include.training.judging.evidence import MODEL
from include.training.model import read_evidence, read_manifest
from tests.unit import shop_case as steps
from tests.unit.folder_case import load_from

FIRST, AS_OF, LAST = "2024-03-20T00Z", "2024-04-08T12Z", "2024-04-10T11Z"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return the lake after bootstrap, training, promotion, scoring and monitoring."""
    folder = tmp_path_factory.mktemp("alarms")
    there = steps.workspace(folder, load_from(steps.FOLDER, "alarms"))
    everything = Span(first=FIRST, last=LAST)
    steps.land(there, everything)
    steps.compute_features(there, everything)
    client = MlflowClient(there.settings.mlflow_tracking_uri)
    client.create_experiment("alarms", artifact_location=str(folder / "files"))
    steps.train_and_promote(there, AS_OF)
    steps.score(there, Span(first=AS_OF, last=LAST))
    steps.judge(there, Span.one(LAST))
    return there


def test_hours_without_an_alarm_are_published_empty(there: Workspace) -> None:
    records = there.lake.records("alarms/raw/alarms")
    assert len(records) == 24 * 21 + 12
    assert sum(record.rows == 0 for record in records.values()) > 200
    scores = there.lake.records("alarms/predictions/scores")
    assert set(scores) == set(partitions.key_range(AS_OF, LAST))
    assert {key for key, record in scores.items() if record.rows == 0} == {
        key for key in scores if records[key].rows == 0
    }


def test_the_training_set_knows_what_its_hour_knew(there: Workspace) -> None:
    frozen = training_sets.freeze(there, AS_OF, steps.attempt("train", "again", "alarms"))
    rows = training_sets.load(frozen).table
    hours = rows["hour"].to_pylist()
    assert (min(hours), max(hours)) >= ("2024-03-21T00Z", "2024-04-08T00Z")
    assert max(hours) <= partitions.shift(AS_OF, -4) == "2024-04-08T08Z"
    assert set(rows["real"].to_pylist()) == {0, 1}


def test_the_windows_are_hours_and_intervals_resample_days(there: Workspace) -> None:
    folder = predicting.model_folder(there, 1)
    test = read_manifest(folder).training_set.windows["test"]
    assert partitions.between(str(test["first"]), str(test["last"])) < 96
    evidence = read_evidence(folder)
    # 96 hours that do not begin at midnight touch five days
    assert evidence.metrics[MODEL]["log_loss"].days in (4, 5)
    assert evidence.metrics[MODEL]["log_loss"].value < evidence.metrics["constant"]["log_loss"].value


def test_the_monitor_judges_the_hours_whose_outcomes_are_there(there: Workspace) -> None:
    rows = there.lake.dataset("alarms/monitoring/verdicts", [LAST]).to_table()
    figures = {row["metric"]: row for row in rows.filter(pc.equal(rows["kind"], "quality")).to_pylist()}
    judged = partitions.key_range(AS_OF, partitions.shift(LAST, -4))
    counts = there.lake.records("alarms/predictions/scores", judged)
    assert figures["log_loss"]["n"] == sum(record.rows for record in counts.values())


def test_an_hour_alone_gives_what_the_span_gave(there: Workspace) -> None:
    before = there.lake.version("alarms/features/sensor_lately")
    steps.compute_features(there, Span.one("2024-04-01T06Z"), "alone")
    assert there.lake.version("alarms/features/sensor_lately") == before


def test_the_training_set_is_made_again_and_nothing_is_stale(there: Workspace) -> None:
    assert rebuild.rebuild_of_model(there, 1)
    assert planning.make(there).empty
