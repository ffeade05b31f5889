"""What every stage of one use case works with: its values, the settings, the lake, a SQL connection."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

import duckdb

from include.core import partitions
from include.core.engine import engine
from include.core.errors import ConfError, MissingPartitions
from include.core.settings import Settings
from include.lake.lake import Lake
from include.lake.records import Attempt, Input
from include.sources.adapter import REFERENCE, SourceAdapter
from include.spec.loading import load_use_case
from include.spec.use_case import UseCase

BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Workspace:
    """One use case in one deployment."""

    settings: Settings
    case: UseCase

    @classmethod
    def open(cls, use_case: str) -> Workspace:
        """The workspace of ``use_case``, with the settings that the environment gives."""
        return cls(Settings.from_environ(), load_use_case(use_case))

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_root, threads=self.settings.threads)

    @cached_property
    def source(self) -> SourceAdapter:
        """The adapter that delivers this use case's raw partitions."""
        module, name = self.case.source.adapter.split(":")
        adapter: SourceAdapter = getattr(import_module(module), name)(
            self.settings.source_cache, **self.case.source.options
        )
        return adapter

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB connection within the deployment's limits."""
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
        # DuckDB's own reader takes many small files in a fraction of the time that a scan through Arrow does
        listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
        con.execute(
            f'CREATE OR REPLACE TEMP VIEW "{view}" AS FROM read_parquet([{listed}], hive_partitioning = true, '
            "hive_types = {'ds': VARCHAR})"
        )

    def attach_raw(self, con: duckdb.DuckDBPyConnection, read: Mapping[str, Input]) -> None:
        """Let ``con`` read those raw tables that ``read`` names, under their own names, as they were recorded.

        What a publish record says was read is then what was read, whatever is published meanwhile.
        """
        for name, raw in self.case.raw.items():
            if (found := read.get(self.case.table("raw", name))) is not None:
                keys = [REFERENCE] if raw.reference else partitions.key_range(found.first, found.last)
                self.attach(con, name, self.case.table("raw", name), keys, found.version)

    def stage(
        self,
        con: duckdb.DuckDBPyConnection,
        table: str,
        query: str,
        keys: Sequence[str],
        attempt: Attempt,
        order: Sequence[str],
        inputs: Mapping[str, Input] | None = None,
    ) -> str:
        """Stage the rows of ``query``, which has a column ``ds``; returns the stage's folder."""
        reader = con.sql(f"SELECT * FROM ({query}) ORDER BY ds").to_arrow_reader(BATCH_ROWS)
        return self.lake.stage(table, reader, keys, attempt, order, inputs).path

    # ---- where reports go ---------------------------------------------------------------------

    def report_folder(self, kind: str, attempt: Attempt) -> Path:
        """The folder of one run's reports of one kind (``data_docs``, ``drift``, ``model_cards``)."""
        return self._folder(self.settings.reports_root, kind, attempt)

    def work_folder(self, kind: str, attempt: Attempt) -> Path:
        """Return the folder of one DAG run's intermediate files of one kind (``fits``)."""
        return self._folder(self.settings.work_root, kind, attempt)

    def _folder(self, root: str, kind: str, attempt: Attempt) -> Path:
        return Path(root) / kind / self.case.name / f"{attempt.dag_id}.{_folder_name(attempt.run_id)}"

    # ---- which partitions ---------------------------------------------------------------------

    def newest(self, layer: str) -> str:
        """The newest published partition of a layer: the one that all of its daily tables have.

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
        """The table's newest published partition, be it one without rows."""
        key = max((key for key in self.lake.keys(table) if key != REFERENCE), default=self.case.history.first)
        if not self.lake.published(table, [key]):
            raise MissingPartitions(
                f"{self.case.name}: no {layer} partition is published; run {self.case.name}_bootstrap first"
            )
        while self.lake.published(table, [partitions.shift(key, 1)]):
            key = partitions.shift(key, 1)
        return key

    def check_partition(self, key: str) -> str:
        """``key``, if the source can have delivered it.

        Raises:
            UnknownPartition: it is malformed or outside the source's history.
        """
        return self.case.check_keys(key, key)[0]

    def bootstrap_range(self, first: str | None, last: str | None, today: str) -> tuple[str, ...]:
        """The partitions from ``first`` to ``last``; either may be left out.

        ``today`` is the newest key whose clock has passed. It bounds what an endless source is asked for
        and stands for a ``last`` that is left out.

        Raises:
            UnknownPartition: the range is malformed or outside the history.
            ConfError: the range reaches past ``today``.
        """
        end = last or min(filter(None, (self.case.history.last, today)))
        begin = first or max(partitions.shift(end, 1 - self.case.bootstrap.days), self.case.history.first)
        if end > today:
            raise ConfError(f"{self.case.name}: partition {end} has not begun yet; the newest one is {today}")
        return self.case.check_keys(begin, end)


def _folder_name(run_id: str) -> str:
    """A run id as part of a folder's name: ``manual__2013-11-02T00_00_00_00_00``.

    Ids that hold more than the characters of Airflow's own, or that are too long for a folder, get a digest, so
    that no two runs share a folder.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", run_id)[:150]
    if re.fullmatch(r"[A-Za-z0-9_.:+-]{1,150}", run_id):
        return plain
    return f"{plain}-{hashlib.sha256(run_id.encode()).hexdigest()[:12]}"
