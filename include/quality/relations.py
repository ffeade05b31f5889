"""The relations that the checks of one audit read, as views that can be narrowed to some of its partitions."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads

from include.core import sql
from include.quality import expectations
from include.quality.expectations import PARTITIONS, STAGED, WITHOUT_NAN
from include.spec.suite import Suite

Rows: TypeAlias = "Sequence[str | Path] | pads.Dataset | pa.Table | str"


class Relations:
    """Views of the staged rows, of the audited partitions, and of the other tables that the suite reads.

    Attributes:
        floating: floating-point columns of the staged rows; NaN is NULL in the view ``WITHOUT_NAN``.
    """

    def __init__(
        self,
        session: duckdb.DuckDBPyConnection,
        suite: Suite,
        rows: Rows,
        partitions: Sequence[str],
        views: Mapping[str, Rows],
    ) -> None:
        self.session, self.suite, self.keys = session, suite, tuple(partitions)
        self.floating: tuple[str, ...] = ()
        # a relation that the connection already knows by that name is left as it is
        others = {name: other for name, other in views.items() if not (isinstance(other, str) and other == name)}
        self._rows: dict[str, Rows] = {STAGED: rows, **others}
        for name, held in self._rows.items():
            if isinstance(held, pads.Dataset | pa.Table):
                session.register(f"_{name}", held)
        self._show(None)

    def close(self) -> None:
        """Drop every view."""
        for name in (WITHOUT_NAN, PARTITIONS, *self._rows):
            self.session.execute(f"DROP VIEW IF EXISTS temp.{sql.identifier(name)}")
        for name in self._rows:
            self.session.unregister(f"_{name}")

    def declare_floating(self, names: Sequence[str]) -> None:
        """Name the columns whose NaN is missing."""
        self.floating = tuple(names)
        self._show(None)

    @contextmanager
    def narrowed(self, keys: Sequence[str]) -> Iterator[None]:
        """Within the block, let the views hold ``keys`` only, as if no other partition had been loaded."""
        with closing(self.each([keys])) as shown:
            for _ in shown:
                yield

    def each(self, groups: Iterable[Sequence[str]]) -> Generator[Sequence[str], None, None]:
        """Yield each group of keys while the views hold these keys only; show all of them in the end.

        To show all of them takes longer than a small query, since every file is looked at. Close the generator: it
        leaves the views as they were.
        """
        narrowed = False
        try:
            for keys in groups:
                if set(keys) != set(self.keys):
                    narrowed = True
                    self._show(keys)
                yield keys
        finally:
            if narrowed:
                self._show(None)

    def whole_reads(self) -> frozenset[str]:
        """Return the names of the tables read that are the same for every partition, as reference tables are."""
        return frozenset(name for name in self.suite.reads if not self._varies(name))

    def _varies(self, name: str) -> bool:
        held = self._rows.get(name)
        if held is None or len(self.keys) == 1:
            return False
        if _in_folders(held):
            return any(_key_of(path) in self.keys for path in held)
        if not self._has_ds(held, name):
            return False
        query = f"SELECT 1 FROM temp.{sql.identifier(name)} WHERE ds IN ({_listed(self.keys)}) LIMIT 1"
        return self.session.execute(query).fetchone() is not None

    def _has_ds(self, held: Rows, name: str) -> bool:
        if isinstance(held, pads.Dataset | pa.Table):
            return "ds" in held.schema.names
        found = self.session.execute(f"DESCRIBE {self._all(name, held)}").fetchall()
        return "ds" in {row[0] for row in found}

    def _show(self, keys: Sequence[str] | None) -> None:
        for name, held in self._rows.items():
            query = self._all(name, held) if keys is None else self._some(name, held, keys)
            self._view(name, query)
        shown = ", ".join(f"({sql.literal(key)})" for key in (self.keys if keys is None else keys))
        self._view(PARTITIONS, f"SELECT ds FROM (VALUES {shown}) AS keys (ds)")
        if self.floating:
            replaced = ", ".join(
                f"CASE WHEN NOT isnan({c}) THEN {c} END AS {c}" for c in map(sql.identifier, self.floating)
            )
            self._view(WITHOUT_NAN, f"SELECT * REPLACE ({replaced}) FROM {STAGED}")

    def _view(self, name: str, query: str) -> None:
        self.session.execute(f"CREATE OR REPLACE TEMP VIEW {sql.identifier(name)} AS {query}")

    def _all(self, name: str, held: Rows) -> str:
        if isinstance(held, str):
            return f"SELECT * FROM {held}"
        if isinstance(held, pads.Dataset | pa.Table):
            return f"SELECT * FROM {sql.identifier(f'_{name}')}"
        return _parquet(held) if held else expectations.empty_rows(self.suite)

    def _some(self, name: str, held: Rows, keys: Sequence[str]) -> str:
        """Return the rows of ``keys``; of another table also those of partitions that are not audited here."""
        every = self._all(name, held)
        if _in_folders(held):
            kept = [path for path in held if self._holds(name, _key_of(path), keys)]
            return _parquet(kept) if kept else f"SELECT * FROM ({every}) LIMIT 0"
        if not self._has_ds(held, name):
            return every
        also = "" if name == STAGED else f" OR ds NOT IN ({_listed(self.keys)})"
        return f"SELECT * FROM ({every}) WHERE ds IN ({_listed(keys)}){also}"

    def _holds(self, name: str, key: str, keys: Sequence[str]) -> bool:
        return key in keys or (name != STAGED and key not in self.keys)


def _in_folders(held: Rows) -> bool:
    """Tell whether these are files that lie in Hive's folders ``ds=<key>``."""
    if isinstance(held, str | pads.Dataset | pa.Table) or not held:
        return False
    return all(Path(path).parent.name.startswith("ds=") for path in held)


def _key_of(path: object) -> str:
    return Path(str(path)).parent.name.removeprefix("ds=")


def _parquet(paths: Sequence[str | Path]) -> str:
    return f"SELECT * FROM {sql.partitioned_parquet(paths) if _in_folders(paths) else sql.parquet(paths)}"


def _listed(values: Sequence[str]) -> str:
    return ", ".join(sql.literal(value) for value in values)
