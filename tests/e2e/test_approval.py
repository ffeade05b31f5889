"""Promotion by approval: a user decides with the evidence in view, by compare-and-swap; a viewer may not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from include.lake.records import Attempt
from include.promotion import ledger
from include.registry import model_versions
from include.spec.loading import load_use_case
from include.stack.api import AirflowApi, ApiError, Json
from include.steps.handover import Proposal
from include.steps.promote import deciding
from include.steps.workspace import Workspace
from tests.e2e.deployment import Deployment
from tests.unit import promotion_case as given
from tests.waiting import HANGS_AFTER_S

pytestmark = pytest.mark.e2e

DAG = "asked_promote"
BRIEFLY = "asked_briefly_promote"


@pytest.fixture(scope="module")
def asked(deployment: Deployment) -> Workspace:
    """Register two versions that no promotion has judged."""
    there = Workspace(deployment.workspace.settings, load_use_case("asked"))
    given.train(there)
    given.train(there, seed=1, as_of="2013-04-10")
    deployment.api.wait_for_dags([DAG])
    deployment.api.unpause(DAG)
    return there


@pytest.fixture
def second_champion(asked: Workspace) -> None:
    """Make version 1 and then version 2 champion, and overrule the gates, which prefer neither."""
    for version in (1, 2):
        entries = ledger.promotions(asked.lake, asked.case)
        if version not in {entry.version for entry in entries}:
            overruled = Proposal(
                kind="promotion", version=version, entries=len(entries), change=True, reason="overruled"
            )
            deciding.promote(asked, overruled, "test", Attempt("asked", DAG, f"overruled-{version}"))


def tasks(deployment: Deployment, run_id: str, dag_id: str = DAG) -> dict[str, Any]:
    return {task["task_id"]: task["state"] for task in deployment.api.task_instances(dag_id, run_id)}


def question(deployment: Deployment, run_id: str) -> Json:
    """Wait until the approval task asks its question, and return the question."""

    def waiting() -> bool | None:
        states = tasks(deployment, run_id)
        assert states.get("judge") != "failed", deployment.api.log(DAG, run_id, "judge")[-20:]
        return states.get("approve") == "awaiting_input" or None

    deployment.until(waiting, "the question to be asked")
    wait_for_heartbeat(deployment)
    return deployment.api.call("GET", answer_path(run_id))


def wait_for_heartbeat(deployment: Deployment) -> None:
    """Wait for the scheduler's next heartbeat, so that it has noticed the end of the asking process.

    An earlier answer resumes the task, and Airflow 3.3 then takes the end of the asking process for the death of the
    resumed process and asks again. A user who reads the question before answering never meets this.
    """
    asked_at = datetime.now(UTC)

    def beaten() -> bool | None:
        health = deployment.api.call("GET", "/monitor/health")
        return datetime.fromisoformat(health["scheduler"]["latest_scheduler_heartbeat"]) > asked_at or None

    deployment.until(beaten, "the scheduler's next heartbeat")


def answer_path(run_id: str, dag_id: str = DAG) -> str:
    return f"/dags/{dag_id}/dagRuns/{run_id.replace('+', '%2B')}/taskInstances/approve/-1/hitlDetails"


def answer(api: AirflowApi, run_id: str, chosen: str) -> None:
    api.call("PATCH", answer_path(run_id), {"chosen_options": [chosen], "params_input": {}})


def ended(deployment: Deployment, run_id: str, dag_id: str = DAG) -> dict[str, Any]:
    deployment.api.wait(dag_id, run_id, HANGS_AFTER_S)
    return tasks(deployment, run_id, dag_id)


def test_a_no_leaves_the_champion(deployment: Deployment, asked: Workspace) -> None:
    run_id = deployment.api.trigger(DAG, {"version": "1"})
    question(deployment, run_id)
    answer(deployment.api, run_id, "Reject")
    assert ended(deployment, run_id) == {"judge": "success", "approve": "success", "promote": "skipped"}
    assert ledger.promotions(asked.lake, asked.case) == []


def test_a_person_approves_with_the_evidence_in_view(deployment: Deployment, asked: Workspace) -> None:
    run_id = deployment.api.trigger(DAG, {"version": "1"})
    shown = question(deployment, run_id)
    assert "there is no champion yet" in shown["body"]
    assert "| log\\_loss |" in shown["body"]
    assert "model_card/model_card.html" in shown["body"]
    assert shown["defaults"] == ["Reject"]
    with pytest.raises(ApiError) as refused:
        answer(AirflowApi.from_layout(deployment.layout, "viewer"), run_id, "Approve")
    assert refused.value.status == 403
    answer(deployment.api, run_id, "Approve")
    assert ended(deployment, run_id) == {"judge": "success", "approve": "success", "promote": "success"}
    (entry,) = ledger.promotions(asked.lake, asked.case)
    assert (entry.version, entry.decided_by) == (1, "admin")


def test_what_the_gates_refuse_is_not_asked_and_its_evidence_is_kept(deployment: Deployment, asked: Workspace) -> None:
    before = ledger.promotions(asked.lake, asked.case)
    run_id = deployment.api.trigger(DAG, {"version": "2"})
    assert ended(deployment, run_id) == {"judge": "success", "approve": "skipped", "promote": "skipped"}
    judged = deployment.api.xcom(DAG, run_id, "judge")
    assert not judged["change"]
    assert "the interval holds zero" in judged["body"]
    assert ledger.promotions(asked.lake, asked.case) == before


def test_judging_the_champion_asks_nobody(deployment: Deployment, asked: Workspace) -> None:
    run_id = deployment.api.trigger(DAG, {"version": "1"})
    assert ended(deployment, run_id) == {"judge": "success", "approve": "skipped", "promote": "skipped"}


def test_a_rollback_to_what_never_was_champion_is_refused(deployment: Deployment, asked: Workspace) -> None:
    run_id = deployment.api.trigger(DAG, {"rollback_to": "2"})
    assert ended(deployment, run_id)["judge"] == "failed"
    said = " ".join(deployment.api.log(DAG, run_id, "judge"))
    assert "version 2 never was champion; a rollback can return to: 1" in said


@pytest.mark.usefixtures("second_champion")
def test_a_person_sends_the_champion_back(deployment: Deployment, asked: Workspace) -> None:
    before = ledger.promotions(asked.lake, asked.case)
    run_id = deployment.api.trigger(DAG, {"rollback_to": "1"})
    assert "back from version 2 to version 1" in question(deployment, run_id)["body"]
    answer(deployment.api, run_id, "Approve")
    assert ended(deployment, run_id) == {"judge": "success", "approve": "success", "promote": "success"}
    *earlier, newest = ledger.promotions(asked.lake, asked.case)
    assert earlier == before
    assert (newest.kind, newest.version, newest.previous, newest.decided_by) == ("rollback", 1, 2, "admin")
    assert model_versions.champion(asked.settings.mlflow_tracking_uri, "asked").number == 1


def test_no_answer_in_time_is_a_no_of_nobody(deployment: Deployment) -> None:
    there = Workspace(deployment.workspace.settings, load_use_case("asked_briefly"))
    given.train(there)
    deployment.api.wait_for_dags([BRIEFLY])
    deployment.api.unpause(BRIEFLY)
    run_id = deployment.api.trigger(BRIEFLY, {"version": "1"})
    expected = {"judge": "success", "approve": "success", "promote": "skipped"}
    assert ended(deployment, run_id, BRIEFLY) == expected
    found = deployment.api.call("GET", answer_path(run_id, BRIEFLY))
    assert (found["chosen_options"], found["responded_by_user"]) == (["Reject"], None)
    assert ledger.promotions(there.lake, there.case) == []
