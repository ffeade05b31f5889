"""The audit of staged rows by a suite: many partitions in one pass, one DuckDB connection, SQL only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads

from include.core import sql
from include.core.engine import engine
from include.quality import columns, docs, expectations, validation
from include.quality.report import AuditReport
from include.quality.samples import Samples
from include.spec.suite import Suite

Rows: TypeAlias = "Sequence[str | Path] | pads.Dataset | pa.Table | str"


@dataclass(frozen=True)
class AuditPlace:
    """The resources of an audit and the place of its report.

    Attributes:
        run: name of the DAG run as a folder name: letters, digits, ``.``, ``_`` and ``-``.
        reports_root: folder of the reports.
        first_partition: first key of the use case's history, which some tables may leave empty.
    """

    use_case: str
    run: str
    reports_root: str
    threads: int = 1
    memory_limit: str = "2GB"
    first_partition: str | None = None


def audit(
    suite: Suite,
    rows: Rows,
    partitions: Sequence[str],
    place: AuditPlace,
    views: Mapping[str, Rows] | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> AuditReport:
    """Check staged rows and write an HTML report.

    Args:
        rows: local Parquet files, each in a folder ``ds=<key>`` or with ``ds`` as a column (no files
            mean no rows); a pyarrow dataset or table; or SQL that may stand after FROM on ``connection``.
        partitions: the keys that are to be published; each must have rows unless the suite excuses it.
        views: the other tables that the suite ``reads``, by name.
        connection: open connection to use instead of a new one; it must not be in a transaction.

    Raises:
        AuditEngineError: an expectation could not be evaluated, so the data is not checked.
        ValueError: a table that the suite reads was not given.
    """
    absent = sorted(set(suite.reads) - set(views or {}))
    if absent:
        raise ValueError(f"the suite of {suite.table} reads {', '.join(absent)}; pass them in `views`")
    with nullcontext(connection) if connection else engine(place.threads, place.memory_limit) as session:
        relations = _relations(rows, partitions, views or {})
        try:
            for name, relation in relations.items():
                _view(session, name, relation, suite)
            return _audit(session, suite, tuple(partitions), place)
        finally:
            for name in relations:
                session.execute(f"DROP VIEW IF EXISTS temp.{sql.identifier(name)}")
                session.unregister(f"_{name}")


def _audit(
    session: duckdb.DuckDBPyConnection, suite: Suite, partitions: tuple[str, ...], place: AuditPlace
) -> AuditReport:
    checks = columns.check(session, expectations.STAGED, suite)
    validated = [docs.column_validation(check) for check in checks]
    results = [validation.column_result(check) for check in checks]
    if all(check.success for check in checks):
        # without a column the expectations would end in engine errors, not in findings
        samples = Samples(session, suite)
        for one in validation.validate(session, suite, place.first_partition):
            results.append(validation.result_of(one, samples))
            validated.append(one)
    (count,) = session.execute(f"SELECT count(*) FROM {expectations.STAGED}").fetchall()[0]
    folder = docs.folder(place.reports_root, place.use_case, suite.table, place.run)
    report = AuditReport(place.use_case, suite.table, partitions, count, tuple(results), str(folder / docs.PAGE))
    docs.write(folder, report, validated)
    return report


def _relations(rows: Rows, partitions: Sequence[str], views: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return the relations that the checks read, by the name of their view.

    A relation that the connection already knows by that name is left out.
    """
    keys = pa.table({"ds": pa.array(list(partitions), pa.string())})
    known = {name for name, other in views.items() if isinstance(other, str) and other == name}
    others = {name: other for name, other in views.items() if name not in known}
    return {expectations.STAGED: rows, expectations.PARTITIONS: keys, **others}


def _view(session: duckdb.DuckDBPyConnection, name: str, rows: Rows, suite: Suite) -> None:
    if isinstance(rows, str):
        query = f"FROM {rows}"
    elif isinstance(rows, pads.Dataset | pa.Table):
        session.register(f"_{name}", rows)
        query = f"FROM {sql.identifier(f'_{name}')}"
    elif rows:
        in_folders = all(Path(path).parent.name.startswith("ds=") for path in rows)
        query = f"FROM {sql.partitioned_parquet(rows) if in_folders else sql.parquet(rows)}"
    else:
        query = expectations.empty_rows(suite)
    session.execute(f"CREATE OR REPLACE TEMP VIEW {sql.identifier(name)} AS {query}")
