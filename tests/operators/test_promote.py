"""Promotion's tasks: whose version is judged, what a no skips, and whose yes counts."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from include.core.errors import ConfError
from include.steps.handover import Promoted, Proposal
from include.steps.workspace import Workspace
from lifecycle.operators.promote import JudgeOperator, PromoteOperator
from tests.operators.task_case import context, event

YES = Proposal(kind="promotion", version=3, entries=1, change=True, reason="better")
NO = YES.model_copy(update={"change": False, "reason": "the interval holds zero"})


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> list[Any]:
    """Collect the questions to a judge that always says yes."""
    asked: list[Any] = []

    def judge(opened: Workspace, *arguments: Any) -> Proposal:
        asked.append(arguments)
        return YES

    monkeypatch.setattr("include.steps.promote.deciding.propose", lambda opened, version, run: judge(opened, version))
    monkeypatch.setattr("include.steps.promote.deciding.propose_rollback", judge)
    return asked


def judge() -> JudgeOperator:
    return JudgeOperator(task_id="judge", use_case="flights")


@pytest.mark.parametrize(
    ("run", "arguments"),
    [
        (context(conf={"version": "2"}), ("2",)),
        (context(events=[event({"version": "3"}), event({"version": "4"}, minute=1)]), ("4",)),
        (context(conf={"version": None}), (None,)),
        (context(conf={"rollback_to": "1", "rollback_from": "2013-11-02"}), ("1", "2013-11-02")),
    ],
    ids=["form", "newest event", "newest version", "rollback"],
)
def test_the_version_that_is_judged(judged: list[Any], run: dict[str, Any], arguments: tuple[Any, ...]) -> None:
    assert judge().execute(run) == YES.model_dump()
    assert judged == [arguments]


def test_a_no_skips_what_follows_and_keeps_its_evidence(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    skipped: list[Any] = []
    kept: dict[str, Any] = {}
    monkeypatch.setattr("include.steps.promote.deciding.propose", lambda *_: NO)
    monkeypatch.setattr(JudgeOperator, "skip", lambda self, ti, tasks: skipped.append(list(tasks)))
    with DAG(dag_id="flights_test"):
        decides = judge()
        follows = promote(proposal=NO)
        decides >> follows
    run = context()
    # Airflow ends the task where it skips: what is returned afterwards is lost
    run["ti"].xcom_push = lambda key, value: kept.update({key: value})
    decides.execute(run)
    assert kept == {"return_value": NO.model_dump()}
    assert skipped == [[follows]]


@pytest.fixture
def promoted(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> list[Any]:
    """Collect the proposals that were carried out, and who decided."""
    done: list[Any] = []

    def promote(opened: Workspace, proposal: Proposal, decided_by: str, run: Any) -> Promoted:
        done.append((proposal, decided_by))
        return Promoted(version=proposal.version, reason=proposal.reason)

    monkeypatch.setattr("include.steps.promote.deciding.promote", promote)
    return done


def promote(approval: Any = None, proposal: Proposal = YES) -> PromoteOperator:
    return PromoteOperator(task_id="promote", use_case="flights", proposal=proposal.model_dump(), approval=approval)


def test_the_gates_decide_where_the_spec_says_auto(promoted: list[Any]) -> None:
    assert promote().execute(context()) == {"schema_version": 1, "version": 3, "reason": "better"}
    assert promoted == [(YES, "auto")]


def test_a_rollback_names_who_asked_for_it(promoted: list[Any]) -> None:
    run = context()
    run["dag_run"].triggering_user_name = "ada"
    back = YES.model_copy(update={"kind": "rollback", "since": "2013-11-02"})
    promote(proposal=back).execute(run)
    assert promoted == [(back, "ada")]


@pytest.fixture
def by_approval(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    case = workspace.case.model_copy(update={"promotion": "approve"})
    monkeypatch.setattr(Workspace, "open", lambda name: Workspace(workspace.settings, case))


@pytest.mark.usefixtures("by_approval")
def test_a_persons_yes_is_kept_with_the_name(promoted: list[Any]) -> None:
    answer = {"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": "ada"}}
    promote(answer).execute(context())
    assert promoted == [(YES, "ada")]


@pytest.mark.usefixtures("by_approval")
@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"chosen_options": ["Reject"], "responded_by_user": {"id": "7", "name": "ada"}},
        {"chosen_options": ["Approve"], "responded_by_user": None},
        {"chosen_options": ["Approve", "Reject"], "responded_by_user": {"id": "7", "name": "ada"}},
    ],
)
def test_anything_but_a_persons_yes_changes_nothing(promoted: list[Any], answer: Any) -> None:
    with pytest.raises(ConfError, match="nobody approved"):
        promote(answer).execute(context())
    assert promoted == []
