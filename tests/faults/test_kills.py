"""kill -9 at each line that matters of each step: readers see whole partitions, and the next attempt finishes once."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from mlflow import MlflowClient

from include.lake import fingerprint
from include.monitoring import window_verdicts
from include.monitoring.window_verdicts import Figure
from include.promotion import ledger
from include.registry import files, model_versions
from include.steps import features, maintenance
from include.steps.handover import Proposal
from include.steps.workspace import Workspace
from tests.faults import work
from tests.faults.processes import killed_at, run
from tests.faults.work import CASE, DAY
from tests.unit import chain, promotion_case
from tests.unit.small_source import small_workspace

pytestmark = pytest.mark.fault

Work = Callable[..., None]
STEPS: dict[str, Work] = {
    "ingest": work.ingested,
    "features": work.computed,
    "score": work.scored,
    "monitor": work.monitored,
}
RAW, VIEW, SCORES, VERDICTS = (
    f"{CASE}/{name}" for name in ("raw/outcomes", "features/calendar", "predictions/scores", "monitoring/verdicts")
)
# each line of a publish, which is the same for every step
LINES = [
    *(
        f"{point}:{table}"
        for point in (
            "stage.before_files", "stage.before_manifest", "stage.written",
            "publish.claimed", "publish.before_move", "publish.before_commit", "publish.after_commit",
        )
        for table in work.SMALL
    ),
    "publish.between_tables", "publish.before_discard", "publish.before_return",
]  # fmt: skip
# the lines of each step itself, and one of its publish
KILLS = [
    ("ingest", f"audit.before_table:{RAW}"),
    ("ingest", "publish.between_tables"),
    ("features", f"stage.before_manifest:{VIEW}"),
    ("features", "publish.between_tables"),
    ("score", "score.before_predict"),
    ("score", f"publish.before_commit:{SCORES}"),
    ("monitor", "monitor.report_written"),
    ("monitor", f"publish.after_commit:{VERDICTS}"),
]


def seen(workspace: Workspace) -> dict[str, list[int]]:
    """Return the values that a reader of each small table finds."""
    return {table: workspace.lake.dataset(table).to_table()["value"].to_pylist() for table in work.SMALL}


@pytest.mark.parametrize("point", LINES)
def test_a_publish_that_is_killed_at_any_line_is_finished_once(tmp_path: Path, point: str) -> None:
    there = small_workspace(tmp_path, "SELECT 1")
    work.small(there, 1, 0, "before")
    assert killed_at(point, work.small, there, 1).code == -signal.SIGKILL
    assert all(values in ([0] * 4, [1] * 4) for values in seen(there).values()), "no reader sees a part"
    assert run(work.small, there, 2).code == 0
    assert seen(there) == dict.fromkeys(work.SMALL, [1] * 4)
    for table in work.SMALL:
        by = [record.key for record in there.lake.history(table) if record.attempt.run_id == "disturbed"]
        assert sorted(by) == sorted(work.KEYS), f"{table} was published once"
    maintenance.vacuum(there, 0, dry_run=False)
    assert seen(there) == dict.fromkeys(work.SMALL, [1] * 4)
    files = list(Path(there.settings.lake_root).rglob("*.parquet"))
    assert len([file for file in files if "_delta_log" not in str(file)]) == len(work.SMALL) * len(work.KEYS)


@dataclass(frozen=True)
class States:
    """The lake before each step of ``DAY``, the tables after it, and the content of each table after all of them."""

    before: dict[str, Workspace]
    tables: dict[str, set[str]]
    content: dict[str, str]


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> States:
    """Run the steps without a fault, and keep the lake as it was before each of them."""
    trained = chain.trained()
    history = trained.case.history.model_copy(update={"last": DAY})
    case = trained.case.model_copy(update={"history": history})
    now = copy(Workspace(trained.settings, case), tmp_path_factory.mktemp("undisturbed"))
    before, tables = {}, {}
    for step, does in STEPS.items():
        before[step] = copy(now, tmp_path_factory.mktemp(step))
        does(now, 1)
        tables[step] = set(content(now))
    return States(before, tables, content(now))


def copy(workspace: Workspace, folder: Path) -> Workspace:
    """Copy the lake, the registry and the models; MLflow stays shared."""
    uri = workspace.settings.mlflow_tracking_uri
    copied = chain.copy(workspace, folder).settings.model_copy(update={"mlflow_tracking_uri": uri})
    return Workspace(copied, workspace.case)


def content(workspace: Workspace) -> dict[str, str]:
    """Return the fingerprint of the rows of ``DAY`` that a reader of each table finds; its records say the same."""
    found = {}
    for table in workspace.lake.tables(CASE):
        if record := workspace.lake.records(table, [DAY]).get(DAY):
            rows = workspace.lake.dataset(table, [DAY]).to_table().drop_columns(["ds"])
            assert record.fingerprint == fingerprint.of_table(rows), table
            # the address of a page is below the folder of the reports, of which each copy has its own
            found[table] = fingerprint.of_table(rows.select([name for name in rows.column_names if name != "report"]))
    return found


@pytest.mark.parametrize(("step", "point"), KILLS)
def test_a_step_that_is_killed_is_finished_by_its_next_attempt(
    states: States, tmp_path: Path, step: str, point: str
) -> None:
    there = copy(states.before[step], tmp_path)
    audit = point.startswith("audit")
    assert killed_at(point, STEPS[step], there, 1, audit).code == -signal.SIGKILL
    seen = content(there)
    assert seen.items() <= states.content.items(), "what a reader sees is the whole partition or nothing of it"
    assert run(STEPS[step], there, 2, audit).code == 0
    finished = content(there)
    assert finished == {table: states.content[table] for table in states.tables[step]}
    for table in finished:
        by = [record.attempt for record in there.lake.history(table) if record.key == DAY]
        assert len(by) == 1, f"{table} was published once"
        assert by[0].run_id != "disturbed" or by[0].number == (1 if table in seen else 2)


def online(workspace: Workspace) -> dict[str, list[Any]]:
    with sqlite3.connect(workspace.settings.online_store) as con:
        names = [name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE name LIKE '%_rows'")]
        return {name: con.execute(f'SELECT * FROM "{name}" ORDER BY entity_key').fetchall() for name in names}


@pytest.mark.parametrize("point", ["materialize.before_write", "materialize.before_commit"])
def test_a_killed_materialize_leaves_whole_views_online(states: States, tmp_path: Path, point: str) -> None:
    undisturbed, there = (copy(states.before["score"], tmp_path / name) for name in ("one", "other"))
    for one in (undisturbed, there):
        features.apply_definitions(one)
    features.materialize(undisturbed, chain.span(DAY))
    expected = online(undisturbed)
    # the third of the views, so that some are done and some are not
    view = sorted(expected)[2].removeprefix(f"{CASE}_").removesuffix("_rows")
    assert killed_at(f"{point}:{view}", work.materialized, there, 1).code == -signal.SIGKILL
    found = online(there)
    whole = {name for name, rows in found.items() if rows == expected[name]}
    assert {name for name, rows in found.items() if rows} == whole
    assert whole
    assert whole != expected.keys()
    assert run(work.materialized, there, 2).code == 0
    assert online(there) == expected


def test_a_killed_request_for_a_training_is_made_once(states: States, tmp_path: Path) -> None:
    start = states.before["monitor"]
    rule = start.case.monitoring.retraining.model_copy(update={"cooldown_periods": 0, "windows": 1, "violations": 1})
    monitoring = start.case.monitoring.model_copy(update={"retraining": rule})
    there = Workspace(copy(start, tmp_path).settings, start.case.model_copy(update={"monitoring": monitoring}))
    bad = window_verdicts.verdict_rows(DAY, 1, monitoring, figures=[Figure("auc", 0.5, None, None, 0.55, True, 900)])
    by = chain.attempt("verdict", f"{CASE}_monitor")
    there.lake.publish(there.lake.stage(VERDICTS, bad.to_reader(), [DAY], by, ()), by)
    assert killed_at("monitor.request_recorded", work.requested, there, 1).code == -signal.SIGKILL
    assert run(work.requested, there, 2).code == 0, "the same DAG run may ask again: it could not trigger the training"
    assert len(there.lake.history(f"{CASE}/monitoring/requests")) == 1


# ---- models -------------------------------------------------------------------------------------------------------

REGISTER = ["run_created", "evidence_logged", "files_uploaded", "model_logged", "version_created"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Any]:
    there = promotion_case.workspace(tmp_path_factory.mktemp("fitted"))
    return there, promotion_case.fit(there)


@pytest.mark.parametrize("point", REGISTER)
def test_a_killed_registration_makes_one_version(fitted: tuple[Workspace, Any], tmp_path: Path, point: str) -> None:
    origin, model = fitted
    there = _with_own_mlflow(origin, tmp_path)
    assert killed_at(f"register.{point}", work.registered, there, 1, model).code == -signal.SIGKILL
    assert run(work.registered, there, 2, model).code == 0
    client = MlflowClient(there.settings.mlflow_tracking_uri)
    assert [one.version for one in client.search_model_versions("name = 'flights'")] == [1]
    (run_of,) = client.search_runs([client.get_experiment_by_name("flights").experiment_id])
    assert run_of.info.status == "FINISHED"
    # the files are whole and signed: both are checked
    files.folder_of(there.settings, "flights", 1)


@pytest.mark.parametrize("point", ["ledger.before_commit", "ledger.after_commit", "promote.before_alias"])
def test_a_killed_promotion_makes_one_entry(fitted: tuple[Workspace, Any], tmp_path: Path, point: str) -> None:
    origin, model = fitted
    there = _with_own_mlflow(origin, tmp_path)
    work.registered(there, 1, model)
    asked = Proposal(kind="promotion", version=1, entries=0, change=True, reason="better", evidence="{}")
    assert killed_at(point, work.promoted, there, 1, asked).code == -signal.SIGKILL
    entries = len(ledger.promotions(there.lake, there.case))
    assert entries == (0 if point == "ledger.before_commit" else 1)
    assert run(work.promoted, there, 2, asked).code == 0
    (entry,) = ledger.promotions(there.lake, there.case)
    assert entry.version == 1
    assert model_versions.champion(there.settings.mlflow_tracking_uri, "flights").number == 1


def _with_own_mlflow(origin: Workspace, folder: Path) -> Workspace:
    """Copy lake and work; MLflow is empty, and its files lie in ``folder``."""
    there = promotion_case.workspace(folder)
    at = Path(origin.settings.lake_root).parent
    shutil.copytree(at / "lake", folder / "lake", dirs_exist_ok=True)
    shutil.copytree(at / "work", folder / "work", dirs_exist_ok=True)
    shutil.copy(at / "studies.db", folder / "studies.db")
    return there


def test_changed_rows_are_noticed(states: States, tmp_path: Path) -> None:
    """The fingerprints of a changed partition are not the undisturbed ones."""
    there = copy(states.before["features"], tmp_path)
    rows = there.lake.dataset(RAW, [DAY]).to_table()
    by = chain.attempt("another", f"{CASE}_ingest")
    less: pa.Table = rows.slice(1)
    there.lake.publish(there.lake.stage(RAW, less.to_reader(), [DAY], by, ()), by)
    assert not content(there).items() <= states.content.items()
