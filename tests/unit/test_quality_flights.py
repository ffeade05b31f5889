"""The suites of the flights tables against the real data: each known fault is caught, and only it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from include.core import partitions
from include.core.partitions import Span
from include.feature_store import feature_sql
from include.monitoring.window_verdicts import VERDICT_SCHEMA
from include.quality.audit import AuditPlace, audit
from include.quality.quarantine import split_quarantine
from include.quality.report import AuditReport, ExpectationResult
from include.quality.suites import load_suites
from include.spec.loading import load_use_case
from include.spec.suite import Suite
from include.steps.suites import built_in
from include.use_cases.flights.source import FlightsSource

FIRST, LAST = "2013-01-01", "2013-12-31"
REFERENCE = ("planes", "airports", "airlines")
SUITES = Path(__file__).parents[2] / "include/use_cases/flights/suites"


@pytest.fixture(scope="module")
def suites() -> dict[str, Suite]:
    return load_suites(SUITES)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Every table of 2013 as it was delivered."""
    with duckdb.connect(config={"threads": 1}) as con:
        con.execute("SET TimeZone = 'UTC'")
        source = FlightsSource(tmp_path_factory.mktemp("source"))
        for table, query in source.deliver(con, FIRST, LAST).items():
            con.execute(f"CREATE TABLE {table} AS {query}")
        yield con


def audited(con: duckdb.DuckDBPyConnection, suite: Suite, tmp_path: Path, rows: str | None = None) -> AuditReport:
    """Audit ``rows`` (by default all delivered rows) without the quarantined ones."""
    if rows is None:
        rows, _ = split_quarantine(con, f"SELECT * FROM {suite.table}", suite)
    keys = ("reference",) if suite.table in REFERENCE else partitions.key_range(FIRST, LAST)
    place = AuditPlace("flights", "year", str(tmp_path), first_partition=FIRST)
    return audit(suite, f"({rows})", keys, place, {name: name for name in suite.reads}, con)


def warning(report: AuditReport, words: str) -> ExpectationResult:
    (found,) = [result for result in report.warnings if words in result.why]
    return found


def test_weather(year: duckdb.DuckDBPyConnection, suites: dict[str, Suite], tmp_path: Path) -> None:
    _, rejected = split_quarantine(year, "SELECT * FROM weather", suites["weather"])
    ((day, rule, _, row),) = year.sql(rejected).fetchall()
    assert (day, rule) == ("2013-02-13", "impossible_wind")
    assert '"wind_speed":1048.36' in row
    report = audited(year, suites["weather"], tmp_path)
    assert report.verdict == "warned"
    missing = warning(report, "every hour")
    # the stations fall silent in the evening of 30 December; the partition of the 31st shows it
    assert {"2013-11-03", "2013-12-31"} <= set(missing.partitions)
    # of a day with 25 hours one observation is missing at each station, and one of 23 hours is whole
    assert "2013-03-11" not in missing.partitions


def test_outcomes(year: duckdb.DuckDBPyConnection, suites: dict[str, Suite], tmp_path: Path) -> None:
    report = audited(year, suites["outcomes"], tmp_path)
    assert report.verdict == "warned"
    storm = warning(report, "quarter is cancelled")
    assert tuple(storm.partitions) == ("2013-02-09", "2013-02-10")
    assert len(warning(report, "absent from planes").partitions) == 364
    # few aircraft are missing in a year, many on the two days of the storm
    assert dict(warning(report, "lack an aircraft").partitions) == {"2013-02-09": 161, "2013-02-10": 168}
    assert len(report.warnings) == 3


def test_schedule(year: duckdb.DuckDBPyConnection, suites: dict[str, Suite], tmp_path: Path) -> None:
    report = audited(year, suites["schedule"], tmp_path)
    assert report.verdict == "warned"
    assert warning(report, "adapter's own map").unexpected == 1400
    assert len(report.warnings) == 1


def test_reference_tables(year: duckdb.DuckDBPyConnection, suites: dict[str, Suite], tmp_path: Path) -> None:
    assert warning(audited(year, suites["planes"], tmp_path), "year of manufacture").unexpected == 70
    assert warning(audited(year, suites["airports"], tmp_path), "placed in time").unexpected == 3
    assert audited(year, suites["airlines"], tmp_path).verdict == "passed"


FAULTS = {
    "key without origin": ("schedule", "* REPLACE ('JFK' AS origin) FROM schedule", "names one row"),
    "tail number before midnight": ("schedule", "*, 'N1' AS tailnum FROM schedule", "refuses other"),
    "later plan": ("schedule", "* REPLACE (flight_date + 1 AS flight_date) FROM schedule", "later plan"),
    "truncated file": ("schedule", "* FROM schedule WHERE ds <> '2013-05-05' OR flight < 50", "truncated"),
    "missing day": ("outcomes", "* FROM outcomes WHERE ds <> '2013-05-05'", "no partition is empty"),
    "known too early": (
        "outcomes",
        "* REPLACE (known_at + INTERVAL 3 HOUR AS known_at) FROM outcomes",
        "would be a leak",
    ),
    "wrong label": ("outcomes", "* REPLACE (NOT disrupted AS disrupted) FROM outcomes", "the label"),
    "cancelled unsaid": ("outcomes", "* REPLACE (false AS cancelled) FROM outcomes", "without a departure"),
    "landed without a delay": (
        "outcomes",
        "* REPLACE (if(arr_delay < 9, NULL, arr_delay) AS arr_delay) FROM outcomes",
        "arrival delay",
    ),
    "midnight as zero": (
        "outcomes",
        "* REPLACE (if(dep_time = 2400, 0, dep_time) AS dep_time) FROM outcomes",
        "2400",
    ),
    "hour that happens twice": (
        "weather",
        "* REPLACE (if(ds = '2013-11-04', date_trunc('day', observed_at), observed_at) AS observed_at) FROM weather",
        "names one row",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_stops_the_publish(
    name: str, year: duckdb.DuckDBPyConnection, suites: dict[str, Suite], tmp_path: Path
) -> None:
    table, columns, words = FAULTS[name]
    rows = f"SELECT {columns}"
    report = audited(year, suites[table], tmp_path, rows)
    assert report.verdict == "failed"
    assert any(words in failure.why for failure in report.failures)


def test_features(year: duckdb.DuckDBPyConnection, suites: dict[str, Suite], tmp_path: Path) -> None:
    days = (FIRST, "2013-01-02")
    place = AuditPlace("flights", "days", str(tmp_path), first_partition=FIRST)
    for view, query in feature_sql.compute(year, load_use_case("flights"), Span(first=days[0], last=days[1])).items():
        year.execute(f"CREATE OR REPLACE TEMP TABLE computed AS {query}")
        report = audit(suites[view], "computed", partitions.key_range(*days), place, connection=year)
        assert report.failures == (), view


SCORES = """SELECT flight_date, carrier, flight, origin, dest, ds, 0.1 + flight % 7 / 10 AS prediction,
    1::BIGINT AS model_version, 'a1' AS features_version FROM schedule WHERE ds = '2013-01-01'"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("prediction AS prediction", None),
        ("prediction + 0.5 AS prediction", "a probability"),
        ("'nan'::DOUBLE AS prediction", "a probability"),
        ("NULL::DOUBLE AS prediction", "was not scored"),
        ("flight AS model_version", "one model version"),
        ("NULL::VARCHAR AS features_version", "names the features"),
        ("flight_date + 1 AS flight_date", "its own local day"),
    ],
)
def test_scores(
    change: str,
    words: str | None,
    year: duckdb.DuckDBPyConnection,
    suites: dict[str, Suite],
    tmp_path: Path,
) -> None:
    place = AuditPlace("flights", "scores", str(tmp_path))
    rows = f"(SELECT * REPLACE ({change}) FROM ({SCORES}))"
    report = audit(suites["scores"], rows, [FIRST], place, connection=year)
    assert (report.verdict == "passed") is (words is None)
    assert words is None or any(words in failure.why for failure in report.failures)


def test_verdicts(suites: dict[str, Suite], tmp_path: Path) -> None:
    row = {"ds": FIRST, "kind": "quality", "metric": "log_loss", "column": None, "violated": False}
    table = pa.Table.from_pylist([{**dict.fromkeys(VERDICT_SCHEMA.names), **row, "model_version": 1, "n": 9}])
    place = AuditPlace("flights", "verdicts", str(tmp_path))
    report = audit(built_in(load_use_case("flights"), "verdicts"), table.cast(VERDICT_SCHEMA), [FIRST], place)
    assert report.verdict == "passed"


def test_repeated_weeks_pass_the_same_suites(suites: dict[str, Suite], tmp_path: Path) -> None:
    keys = partitions.key_range("2025-03-05", "2025-03-12")
    with duckdb.connect(config={"threads": 1}) as con:
        con.execute("SET TimeZone = 'UTC'")
        source = FlightsSource(tmp_path / "source", replay_weeks=52)
        for table, query in source.deliver(con, keys[0], keys[-1]).items():
            con.execute(f"CREATE TABLE {table} AS {query}")
        for table in ("schedule", "outcomes", "weather"):
            suite = suites[table]
            place = AuditPlace("flights_live", "weeks", str(tmp_path), first_partition=FIRST)
            report = audit(suite, table, keys, place, {name: name for name in suite.reads}, con)
            assert report.failures == ()
