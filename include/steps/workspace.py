"""The workspace of a step: the use case, the settings, the lake, the source, a SQL connection."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from include.core import partitions, sql
from include.core.engine import engine
from include.core.errors import ConfError, MissingPartitions
from include.core.partitions import Span
from include.core.settings import Settings
from include.lake.lake import Lake
from include.lake.reader import LakeReader
from include.lake.records import Attempt, Input
from include.lake.staging import Stage
from include.sources.adapter import REFERENCE, SourceAdapter, open_adapter
from include.spec.loading import load_use_case
from include.spec.use_case import UseCase

# operators know an attempt through its workspace, and import nothing of the lake
__all__ = ["BATCH_ROWS", "Attempt", "Workspace", "WorkspaceReader"]

BATCH_ROWS = 100_000


@dataclass(frozen=True)
class WorkspaceReader:
    """One use case in one deployment, to read from."""

    settings: Settings
    case: UseCase

    @cached_property
    def lake(self) -> LakeReader:
        """The lake at one moment: each table stays at the version at which it was first opened."""
        return LakeReader(self.settings.lake_root).at_one_moment()

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a DuckDB connection within the deployment's limits."""
        with engine(self.settings.threads, self.settings.memory_limit) as con:
            yield con

    def attach(
        self,
        con: duckdb.DuckDBPyConnection,
        view: str,
        table: str,
        keys: Sequence[str],
        version: int | None = None,
    ) -> None:
        """Let ``con`` read ``keys`` of a published table under the name ``view``."""
        paths = self.lake.paths(table, keys, version)
        if not paths:
            con.register(view, self.lake.dataset(table, keys, version))
            return
        # DuckDB's own reader reads many small files in a fraction of the time of a scan through Arrow
        rows = sql.partitioned_parquet(paths, self.lake.file_columns(table, version))
        con.execute(f"CREATE OR REPLACE TEMP VIEW {sql.identifier(view)} AS FROM {rows}")

    def attach_raw(self, con: duckdb.DuckDBPyConnection, read: Mapping[str, Input], within: Span | None = None) -> None:
        """Let ``con`` read the raw tables that ``read`` names, under their own names, at the recorded versions.

        The publish record then names what was read, even if a table is published again meanwhile. ``within`` are the
        partitions to show; left out, all that ``read`` names.
        """
        for name, raw in self.case.raw.items():
            if (found := read.get(self.case.table("raw", name))) is not None:
                shown = within or Span(first=found.first, last=found.last)
                keys = [REFERENCE] if raw.reference else shown.keys
                self.attach(con, name, self.case.table("raw", name), keys, found.version)

    # ---- where reports go ---------------------------------------------------------------------

    def report_folder(self, kind: str, attempt: Attempt) -> Path:
        """Return the folder of one DAG run's reports of one kind (``data_docs``, ``drift``, ``model_cards``)."""
        return self._folder(self.settings.reports_root, kind, attempt)

    def work_folder(self, kind: str, attempt: Attempt) -> Path:
        """Return the folder of one DAG run's intermediate files of one kind (``fits``)."""
        return self._folder(self.settings.work_root, kind, attempt)

    def _folder(self, root: str, kind: str, attempt: Attempt) -> Path:
        return Path(root) / kind / self.case.name / f"{attempt.dag_id}.{_folder_name(attempt.run_id)}"

    # ---- which partitions ---------------------------------------------------------------------

    def newest(self, layer: str) -> str:
        """Return the newest published partition of a layer: the newest that all of its daily tables have.

        Raises:
            MissingPartitions: nothing has been published yet.
        """
        names = {
            "raw": self.case.partitioned_raw,
            "features": tuple(self.case.features.views),
            "predictions": ("scores",),
        }[layer]
        found = [self._newest_of(self.case.table(layer, name), layer) for name in names]
        return min(found)

    def _newest_of(self, table: str, layer: str) -> str:
        """Return the table's newest published partition, which may be one without rows."""
        key = max((key for key in self.lake.keys(table) if key != REFERENCE), default=self.case.history.first)
        if not self.lake.published(table, [key]):
            raise MissingPartitions(
                f"{self.case.name}: no {layer} partition is published; run {self.case.name}_bootstrap first"
            )
        while self.lake.published(table, [partitions.shift(key, 1)]):
            key = partitions.shift(key, 1)
        return key

    def check_partition(self, key: str) -> str:
        """Return ``key`` if it lies in the source's history.

        Raises:
            UnknownPartition: ``key`` is malformed or outside the source's history.
        """
        return self.case.check_span(Span.one(key)).first

    def bootstrap_span(self, first: str | None, last: str | None, today: str) -> Span:
        """Return the span from ``first`` to ``last``; either may be left out.

        ``today`` is the newest key whose clock has passed. It is the default of ``last``, and bounds what an
        endless source is asked for.

        Raises:
            UnknownPartition: the span is malformed or outside the history.
            ConfError: the span reaches past ``today``.
        """
        end = last or min(filter(None, (self.case.history.last, today)))
        begin = first or max(partitions.shift(end, 1 - self.case.bootstrap.periods), self.case.history.first)
        if end > today:
            raise ConfError(f"{self.case.name}: partition {end} has not begun yet; the newest one is {today}")
        return self.case.check_span(Span(first=begin, last=end))


@dataclass(frozen=True)
class Workspace(WorkspaceReader):
    """One use case in one deployment, to read, to stage and to publish; each read sees the newest versions."""

    @classmethod
    def open(cls, use_case: str) -> Workspace:
        """Open the workspace of ``use_case`` with the settings that the environment gives."""
        return cls(Settings.from_environ(), load_use_case(use_case))

    @cached_property
    def lake(self) -> Lake:
        """The lake as it is at each read."""
        return Lake(self.settings.lake_root, threads=self.settings.threads)

    def at_one_moment(self) -> WorkspaceReader:
        """Return a reader for which each table of the lake stays at the version that it first sees.

        A step reads its inputs through one reader, so that the versions that it records are those that it read.
        """
        return WorkspaceReader(self.settings, self.case)

    def attempt(self, dag_id: str, run_id: str, number: int, try_id: str = "") -> Attempt:
        """Return one try of a task of a DAG run as the lake records it."""
        return Attempt(self.case.name, dag_id, run_id, number, self.settings.code_version, try_id)

    @cached_property
    def source(self) -> SourceAdapter:
        """The adapter that delivers this use case's raw partitions."""
        return open_adapter(self.case, self.settings.source_cache)

    def stage(
        self,
        con: duckdb.DuckDBPyConnection,
        table: str,
        query: str,
        keys: Sequence[str],
        attempt: Attempt,
        order: Sequence[str],
        inputs: Mapping[str, Input] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> Stage:
        """Stage the rows of ``query``, which has a column ``ds``."""
        reader = con.sql(f"SELECT * FROM ({query}) ORDER BY ds").to_arrow_reader(BATCH_ROWS)
        return self.lake.stage(table, reader, keys, attempt, order, inputs, notes)


def _folder_name(run_id: str) -> str:
    """Return a DAG run's id as part of a folder's name: ``manual__2013-11-02T00_00_00_00_00``.

    Ids with other characters than Airflow's own ids have, or that are too long for a folder, get a digest, so that
    no two DAG runs share a folder.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", run_id)[:150]
    if re.fullmatch(r"[A-Za-z0-9_.:+-]{1,150}", run_id):
        return plain
    return f"{plain}-{hashlib.sha256(run_id.encode()).hexdigest()[:12]}"
