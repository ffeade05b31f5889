"""Bad input ends in an error that names the thing and the remedy; what was readable before stays so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from include.core.errors import (
    AuditFailed,
    ConfError,
    DigestMismatch,
    LifecycleError,
    MissingPartitions,
    NoChampion,
    SchemaMismatch,
    SourceError,
    StagePublished,
    UnknownPartition,
)
from include.lake.records import Attempt
from include.promotion import ledger
from include.steps import features, ingest, publishing
from include.steps.handover import Stages
from include.steps.score import predicting
from include.steps.workspace import Workspace
from include.use_cases.flights import upstream
from include.use_cases.flights.source import FlightsSource
from tests.unit import chain

DAY = "2013-11-02"
OUTCOMES = "autumn/raw/outcomes"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Open an empty lake."""
    return Workspace(chain.settings_in(tmp_path), chain.autumn())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return chain.copy(chain.trained(), tmp_path_factory.mktemp("bad"))


@contextmanager
def nothing_changes(workspace: Workspace) -> Iterator[None]:
    before = chain.versions(workspace.lake), chain.fingerprints(workspace.lake, DAY)
    yield
    assert (chain.versions(workspace.lake), chain.fingerprints(workspace.lake, DAY)) == before


def outcomes(published: Workspace) -> pa.Table:
    return chain.rows_of(published, OUTCOMES, DAY)


def audited(workspace: Workspace, rows: pa.Table, attempt: Attempt) -> Stages:
    """Stage ``rows`` as the outcomes of DAY and audit them."""
    stages = Stages(folders={OUTCOMES: workspace.lake.stage(OUTCOMES, rows.to_reader(), [DAY], attempt, ()).path})
    publishing.audit(workspace, stages, attempt)
    return stages


# ---- partitions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2013-11-31", "2013-11-31", "partition '2013-11-31' is not a day; write it as 2013-11-02"),
        ("20131102", "20131102", "partition '20131102' is not a day"),
        ("2013-11-05", "2013-11-02", "ends before it begins; swap the two"),
        ("2013-11-09", "2013-11-11", r"2013-11-11 is outside the source's history 2013-09-27\.\.2013-11-10"),
        ("2013-09-26", DAY, "2013-09-26.* is outside the source's history"),
        ("'; DROP TABLE x; --", DAY, "is not a day"),
        ("../../etc", DAY, "is not a day"),
    ],
)
def test_partitions_that_cannot_be(published: Workspace, first: str, last: str, message: str) -> None:
    with nothing_changes(published):
        for stage in (
            lambda: features.stage(published, chain.span(first, last), chain.attempt("bad")),
            lambda: predicting.stage(published, chain.span(first, last), predicting.CURRENT, chain.attempt("bad")),
        ):
            with pytest.raises(UnknownPartition, match=message):
                stage()


def test_a_day_that_the_source_does_not_have(workspace: Workspace) -> None:
    with pytest.raises(UnknownPartition, match="2014-01-01 is after the history; it ends on 2013-12-31"):
        ingest.land(workspace, chain.span("2014-01-01"), chain.attempt())


def test_features_without_their_inputs(workspace: Workspace) -> None:
    with pytest.raises(
        MissingPartitions, match=r"autumn/raw/schedule: 2013-10-06, .* \(28 in all\) not published; run"
    ):
        features.stage(workspace, chain.span(DAY), chain.attempt())


# ---- source files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "planes.csv is missing; reinstall it with: pip install"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "planes.csv: .*it is truncated or not this release"),
        (
            lambda path: path.write_text(path.read_text().replace("seats", "chairs", 1)),
            "planes.csv: column 'seats' is missing",
        ),
        (
            lambda path: path.write_text(path.read_text().replace(",55,", ",many,", 1)),
            "planes.csv: column 'seats' is not BIGINT .*many",
        ),
    ],
    ids=["missing", "truncated", "without a column", "of another type"],
)
def test_source_files_that_are_not_as_promised(published: Workspace, tmp_path: Path, spoil, message: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(upstream.installed_data(), data)
    spoil(data / "planes.csv")
    spoiled = Workspace(published.settings, published.case)
    spoiled.__dict__["source"] = FlightsSource(tmp_path / "cache", data=data)
    with nothing_changes(published), pytest.raises(SourceError, match=message):
        ingest.land(spoiled, chain.span(DAY), chain.attempt("bad"))


# ---- stages -----------------------------------------------------------------------------------------


def spoiled_stages() -> dict[str, tuple]:
    return {
        "a column missing": (lambda rows: rows.drop_columns(["arr_delay"]), "column arr_delay is missing; BIGINT"),
        "another type": (
            lambda rows: rows.set_column(
                rows.column_names.index("arr_delay"), "arr_delay", rows["arr_delay"].cast(pa.string())
            ),
            "column arr_delay is VARCHAR, not BIGINT",
        ),
        "a column more": (
            lambda rows: rows.append_column("extra", rows["arr_delay"]),
            r"column extra \(BIGINT\) is not in the suite",
        ),
        "no rows": (lambda rows: rows.slice(0, 0), DAY),
        "a duplicate key": (
            lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]),
            "flight_date, carrier, flight, origin",
        ),
        "a row from the future": (
            lambda rows: rows.set_column(
                rows.column_names.index("known_at"),
                "known_at",
                pc.add(rows["known_at"], pa.scalar(36 * 3600 * 10**6, pa.duration("us"))),
            ),
            "earlier would be a leak",
        ),
    }


@pytest.mark.parametrize("name", spoiled_stages())
def test_a_failed_audit_publishes_nothing_keeps_the_stage_and_names_the_report(published: Workspace, name: str) -> None:
    spoil, message = spoiled_stages()[name]
    rows = spoil(outcomes(published))
    by = chain.attempt(f"spoiled by {name}")
    stages = Stages(folders={OUTCOMES: published.lake.stage(OUTCOMES, rows.to_reader(), [DAY], by, ()).path})
    with nothing_changes(published):
        with pytest.raises(AuditFailed, match=message) as failure:
            publishing.audit(published, stages, by)
        with pytest.raises(AuditFailed, match="has not passed an audit; run the audit task first"):
            publishing.publish(published, stages, by)
    text = str(failure.value)
    report = text.rsplit("the report is ", 1)[1]
    assert Path(report).is_file()
    assert stages.folders[OUTCOMES] in text
    assert published.lake.open_stage(stages.folders[OUTCOMES]).rows == rows.num_rows


def test_every_failed_table_is_named_by_one_audit(published: Workspace) -> None:
    by = chain.attempt("two bad tables")
    folders = {}
    for name in ("outcomes", "weather"):
        table = published.case.table("raw", name)
        rows = chain.rows_of(published, table, DAY).slice(0, 0)
        folders[table] = published.lake.stage(table, rows.to_reader(), [DAY], by, ()).path
    with nothing_changes(published), pytest.raises(AuditFailed, match=r"(?s)autumn/outcomes: .*autumn/weather: "):
        publishing.audit(published, Stages(folders=folders), by)


def test_one_table_without_an_audit_holds_back_all_of_them(published: Workspace) -> None:
    by = chain.attempt("half audited")
    changed = outcomes(published).slice(1)
    stages = audited(published, changed, by)
    weather = published.case.table("raw", "weather")
    rows = chain.rows_of(published, weather, DAY).slice(1)
    more = published.lake.stage(weather, rows.to_reader(), [DAY], by, ()).path
    stages = Stages(folders={**stages.folders, weather: more})
    with (
        nothing_changes(published),
        pytest.raises(AuditFailed, match=r"autumn/raw/weather: .* run the audit task first"),
    ):
        publishing.publish(published, stages, by)


def test_other_columns_than_the_table_has(published: Workspace) -> None:
    rows = outcomes(published).rename_columns({"arr_delay": "delay"})
    by = chain.attempt("renamed")
    stages = Stages(folders={OUTCOMES: published.lake.stage(OUTCOMES, rows.to_reader(), [DAY], by, ()).path})
    with nothing_changes(published), pytest.raises(SchemaMismatch, match="arr_delay is missing; delay is new"):
        chain.publish(published, stages, by)


def test_an_audit_that_is_cleared_after_its_publish(workspace: Workspace) -> None:
    """C35: the rows are in their tables by then, and the error says so."""
    by = chain.attempt()
    stages = ingest.land(workspace, chain.span(DAY), by)
    chain.publish(workspace, stages, by)
    with nothing_changes(workspace), pytest.raises(StagePublished, match=r"published already.*raw/outcomes.*clear"):
        publishing.audit(workspace, stages, by)


def test_a_stage_that_is_gone(published: Workspace) -> None:
    gone = Stages(folders={OUTCOMES: f"{published.settings.lake_root}/_stages/gone"})
    with pytest.raises(LifecycleError, match="holds no finished stage; clear the task that stages it"):
        publishing.publish(published, gone, chain.attempt())


# ---- models -----------------------------------------------------------------------------------------


def test_no_champion_yet(tmp_path: Path) -> None:
    workspace = chain.copy(chain.landed(), tmp_path)
    for model in (predicting.AS_OF_CLOCK, predicting.CURRENT):
        with pytest.raises(NoChampion, match="autumn has no champion yet; run autumn_train, then autumn_promote"):
            predicting.stage(workspace, chain.span(DAY), model, chain.attempt())
    assert workspace.lake.version("autumn/predictions/scores") is None


def test_a_champion_that_knows_the_day_already(published: Workspace) -> None:
    with (
        nothing_changes(published),
        pytest.raises(NoChampion, match=f"no champion of {DAY}: .* knows data up to 2013-11-04"),
    ):
        predicting.stage(published, chain.span(DAY), predicting.AS_OF_CLOCK, chain.attempt("bad"))


@pytest.mark.parametrize(("model", "error"), [("newest", ConfError), ("1; DROP", ConfError), ("77", LifecycleError)])
def test_a_model_that_there_is_not(published: Workspace, model: str, error: type[Exception]) -> None:
    day = chain.LAST
    with nothing_changes(published), pytest.raises(error, match=r"unknown; ask for as_of_clock|version 77 is not"):
        predicting.stage(published, chain.span(day), model, chain.attempt("bad"))


def test_a_model_file_that_was_changed(published: Workspace) -> None:
    predicting.stage(published, chain.span(chain.LAST), predicting.CURRENT, chain.attempt("fills the cache"))
    folder = predicting.model_folder(published, ledger.current(published.lake, published.case).version)
    changed = next(path for path in sorted((folder / "model").iterdir()) if path.is_file())
    changed.write_bytes(changed.read_bytes() + b" ")
    with nothing_changes(published), pytest.raises(DigestMismatch, match="changed after registration; download them"):
        predicting.stage(published, chain.span(chain.LAST), predicting.CURRENT, chain.attempt("bad"))


# ---- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run_id",
    [
        "../../../etc/passwd",
        "a/b",
        "..",
        "",
        "x" * 300,
        "é" * 200,
        "{{ 1 }}",
        "a\x00b",
        "manual__2013-11-02T00:00:00+00:00",
    ],
)
def test_reports_stay_in_their_folder_whatever_the_run_is_called(published: Workspace, run_id: str) -> None:
    folder = published.report_folder("data_docs", Attempt("autumn", "autumn_ingest", run_id))
    root = Path(published.settings.reports_root) / "data_docs" / "autumn"
    assert folder.resolve().parent == root.resolve()
    folder.mkdir(parents=True)
    assert folder.name.isascii()


def test_an_audit_keeps_its_report_whatever_the_run_is_called(published: Workspace) -> None:
    with nothing_changes(published):
        stages = audited(published, outcomes(published), Attempt("autumn", "autumn_ingest", "../é {{ x }}"))
    docs = published.lake.open_stage(stages.folders[OUTCOMES]).audit()["docs"]
    assert Path(docs).resolve().is_relative_to(Path(published.settings.reports_root).resolve())


def test_two_runs_never_share_a_folder(published: Workspace) -> None:
    ids = ["a/b", "a_b", "a b", "x" * 200, "x" * 201]
    assert len({published.report_folder("data_docs", Attempt("autumn", "d", run_id)) for run_id in ids}) == len(ids)
