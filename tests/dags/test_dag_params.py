"""The trigger forms: help for a person, and a schema that answers 400 to whatever is hostile or mistyped."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.exceptions import ParamValidationError
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.dags.airflow_home import dagbag, scheduled
from tests.dags.test_dag_files import IDS

HOSTILE: list[Any] = [
    "'; DROP TABLE flights; --",
    "2013-11-02' OR '1'='1",
    "../../etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "{{ conn.get('x').password }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "${HOME}",
    "$(id)",
    "2013-11-02\n",
    "current\n",
    "3\n",
    "٢٠١٣-١١-٠٢",
    "２",
    "2013-11-02T00:00:00",
    "2013-02-30",
    "0",
    "-1",
    "1" * 40,
    "None",
    "",
    " ",
    -1,
    0,
    0.5,
    10**12,
    ["2013-11-02"],
    {"partition": "2013-11-02"},
]

FORMS = {
    "ingest": ["partition"],
    "features": ["partition"],
    "score": ["partition", "model"],
    "monitor": ["partition"],
    "bootstrap": ["from", "to"],
    "train": ["as_of", "trials", "accelerator"],
    "promote": ["version", "rollback_to", "rollback_from"],
    "maintenance": ["retention_hours", "dry_run", "verify"],
    "reprocess": ["plan"],
}

FIELDS = [(dag_id, name) for dag_id in IDS for name in FORMS[dag_id.rsplit("_", 1)[1]]]


def trigger(dag_id: str, conf: dict[str, Any]) -> None:
    """Check ``conf`` as the REST API and the backfill CLI do before they create a DAG run."""
    scheduled(dag_id).params.deep_merge(conf).validate()


@pytest.mark.parametrize("dag_id", IDS)
def test_the_form_has_these_fields(dag_id: str) -> None:
    assert list(dagbag().dags[dag_id].params) == FORMS[dag_id.rsplit("_", 1)[1]]


@pytest.mark.parametrize(("dag_id", "name"), FIELDS)
def test_a_field_explains_itself_and_its_default_works(dag_id: str, name: str) -> None:
    param = dagbag().dags[dag_id].params.get_param(name)
    assert param.schema["title"]
    assert str(param.description).endswith(".")
    assert "type" in param.schema
    Draft202012Validator.check_schema(param.schema)
    trigger(dag_id, {})
    trigger(dag_id, {name: param.value})


@pytest.mark.parametrize(("dag_id", "name"), FIELDS)
def test_hostile_and_mistyped_values_make_no_run(dag_id: str, name: str) -> None:
    passed = []
    for value in HOSTILE:
        try:
            trigger(dag_id, {name: value})
        except ParamValidationError:
            continue
        passed.append(value)
    assert passed == []


@pytest.mark.parametrize("day", ["20131102", "2013-W44-6", "2013-11-2", "2013-13-01"])
def test_a_day_has_one_spelling(day: str) -> None:
    with pytest.raises(ParamValidationError, match="partition"):
        trigger("flights_live_ingest", {"partition": day})


@pytest.mark.parametrize(
    ("dag_id", "conf"),
    [
        ("flights_ingest", {"partition": "2013-11-02"}),
        ("flights_score", {"partition": "2013-12-31", "model": "current"}),
        ("flights_score", {"model": "17"}),
        ("flights_live_score", {"partition": "2026-11-20"}),
        ("flights_bootstrap", {"from": "2013-01-01", "to": "2013-10-31"}),
        ("flights_train", {"as_of": "2013-11-01", "trials": 4}),
        ("flights_promote", {"version": "2"}),
        ("flights_maintenance", {"retention_hours": 24, "dry_run": True}),
        ("flights_reprocess", {"plan": "0123456789ab"}),
    ],
)
def test_what_a_person_means_passes(dag_id: str, conf: dict[str, Any]) -> None:
    trigger(dag_id, conf)


@pytest.mark.parametrize("day", ["2012-12-31", "2014-01-01", "9999-12-31", "0001-01-01"])
@pytest.mark.parametrize(
    ("dag_id", "name"),
    [(i, n) for i, n in FIELDS if n in ("partition", "from", "to", "as_of") and "live" not in i],
)
def test_a_year_outside_history_makes_no_run(dag_id: str, name: str, day: str) -> None:
    with pytest.raises(ParamValidationError, match=name):
        trigger(dag_id, {name: day})
