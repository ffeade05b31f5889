"""The audit of staged rows by a suite: many partitions in one pass, one DuckDB connection, SQL only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import duckdb

from include.core.engine import engine
from include.quality import columns, docs, expectations, judged, validation
from include.quality.relations import Relations, Rows
from include.quality.report import AuditReport
from include.spec.suite import Suite


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
    """Check staged rows and write an HTML report; each partition is judged as if it had been loaded alone.

    Args:
        rows: local Parquet files, each in a folder ``ds=<key>`` or with ``ds`` as a column (no files
            mean no rows); a pyarrow dataset or table; or SQL that may stand after FROM on ``connection``.
        partitions: the keys that are to be published; each must have rows unless the suite excuses it.
        views: the other tables that the suite ``reads``, by name. A check of one partition sees their rows of the
            same partition, and of those that are not loaded here, such as ``reference``.
        connection: open connection to use instead of a new one; it must not be in a transaction.

    Raises:
        AuditEngineError: an expectation could not be evaluated, so the data is not checked.
        ValueError: a table that the suite reads was not given.
    """
    absent = sorted(set(suite.reads) - set(views or {}))
    if absent:
        raise ValueError(f"the suite of {suite.table} reads {', '.join(absent)}; pass them in `views`")
    with nullcontext(connection) if connection else engine(place.threads, place.memory_limit) as session:
        relations = Relations(session, suite, rows, partitions, views or {})
        try:
            return _audit(relations, place)
        finally:
            relations.close()


def _audit(relations: Relations, place: AuditPlace) -> AuditReport:
    session, suite = relations.session, relations.suite
    checks = columns.check(session, expectations.STAGED, suite)
    validated = [docs.column_validation(check) for check in checks]
    results = [judged.column_result(check) for check in checks]
    if all(check.success for check in checks):
        # without a column the expectations would end in engine errors, not in findings
        relations.declare_floating([check.name for check in checks if check.found in columns.FLOATING])
        for one in validation.validate(relations, place.first_partition):
            results.append(judged.result_of(one))
            validated.append(one.validation)
    (count,) = session.execute(f"SELECT count(*) FROM {expectations.STAGED}").fetchall()[0]
    folder = docs.folder(place.reports_root, place.use_case, suite.table, place.run)
    page = str(folder / docs.PAGE)
    report = AuditReport(place.use_case, suite.table, relations.keys, count, tuple(results), page)
    docs.write(folder, report, validated)
    return report
