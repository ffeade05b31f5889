"""Bad input to a running stack: a clear error names the fault, nothing is published, other DAG runs continue."""

from __future__ import annotations

from typing import Any

import pytest

from include.stack.api import AirflowApi, ApiError
from tests.e2e.conftest import DAYS, Backfilled, Refused
from tests.e2e.deployment import Deployment, dag

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("step", "conf"),
    [
        ("ingest", {"partition": "2013-02-10'; DROP TABLE dag; --"}),
        ("ingest", {"partition": "../../2013-02-10"}),
        ("features", {"partition": "{{ 7 * 7 }}"}),
        ("score", {"model": "../../etc/passwd"}),
        ("score", {"model": 1}),
        ("train", {"trials": 0}),
        ("train", {"trials": "4; rm -rf /"}),
        ("bootstrap", {"from": "January", "to": "2013-02-10"}),
        ("bootstrap", {"from": "2013-01-01", "to": "2014-01-01"}),
        ("promote", {"version": "-1"}),
        ("maintenance", {"retention_hours": 0}),
    ],
)
def test_conf_that_breaks_the_form_starts_nothing(deployment: Deployment, step: str, conf: dict[str, Any]) -> None:
    before = len(deployment.api.runs(dag(step)))
    with pytest.raises(ApiError) as refusal:
        deployment.start(step, conf)
    assert refusal.value.status == 400
    assert len(deployment.api.runs(dag(step))) == before


def test_viewer_may_look_but_not_trigger(deployment: Deployment) -> None:
    viewer = AirflowApi.from_layout(deployment.layout, "viewer")
    assert dag("ingest") in {found["dag_id"] for found in viewer.dags()}
    with pytest.raises(ApiError) as refusal:
        viewer.trigger(dag("ingest"), partition_key=DAYS[0])
    assert refusal.value.status == 403


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("no champion", f"NoChampion: flights_small has no champion yet; run {dag('train')}"),
        ("key outside history", "UnknownPartition: flights_small: 2014-01-05..2014-01-05 is outside"),
        ("unknown name", 'ConfError: conf: "partitions" unknown; did you mean "partition"?'),
        ("hole", "MissingPartitions: flights_small/raw/schedule: 2013-02-10, 2013-02-11, 2013-02-12;"),
    ],
)
def test_what_there_is_not_is_named(bootstrapped: Deployment, refused: Refused, asked: str, said: str) -> None:
    assert said in bootstrapped.why_failed(*refused.runs[asked])


@pytest.mark.parametrize("asked", ["no champion", "key outside history", "unknown name"])
def test_what_cannot_change_is_tried_once(bootstrapped: Deployment, refused: Refused, asked: str) -> None:
    assert "failed at try 1;" in bootstrapped.why_failed(*refused.runs[asked])


def test_refused_runs_publish_nothing(bootstrapped: Deployment, refused: Refused, backfilled: Backfilled) -> None:
    lake = bootstrapped.workspace.lake
    for table in bootstrapped.versions():
        assert not lake.published(table, ["2013-02-12", "2014-01-05"]), table
    # the first champion published the first scores
    scores = bootstrapped.table("predictions", "scores")
    assert scores not in refused.before
    assert set(lake.records(scores)) == set(DAYS)
