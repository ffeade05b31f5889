"""The as-of join of a training set: real flights x three feature histories.

Subject: Feast's ``get_historical_features`` over our offline store. References: the bare DuckDB ``ASOF JOIN`` on the
same files, ``pandas.merge_asof``, and at 10,000 entities Feast's own DuckDB store, which does not finish at 336,000.
The compared answer is the sum and the number of values of each feature. In *late* histories 5 % of the rows were
created after their event. One inequality cannot express that, so their reference is an ASOF join with wrong answers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import data
from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work
from tests.benchmarks.data import HISTORIES, VALUES
from tests.benchmarks.limits import threads

ENTITIES, FEW = 336_776, 10_000
LATE_PERCENT = 5


def rows(scale: Scale) -> list[Row]:
    """List one row a history size, one with late rows, and one with few entities."""
    entities, histories = {"tiny": (20_000, [200_000]), "small": (ENTITIES, [1_000_000])}.get(
        scale, (ENTITIES, [10_000_000])
    )
    found = [_row(entities, size, late=0, pandas=True) for size in histories]
    found.append(_row(entities, histories[-1], late=LATE_PERCENT, pandas=False))
    found.append(_few(min(FEW, entities // 4), histories[-1]))
    if scale == "full":
        found.append(_row(entities, 100_000_000, late=0, pandas=False, capped="6GB"))
    return found


def _row(entities: int, size: int, *, late: int, pandas: bool, capped: str = "") -> Row:
    given = {
        "entities": str(data.made("entities", entities)),
        "histories": str(data.made("histories", size, late)),
        "memory": "4GB",
    }
    name = f"{size:,} rows" + (" under 6 GB" if capped else "") + (" late" if late else "")
    # a fresh process for each run takes longer to start than most joins: three runs, not five
    runs = 1 if late or size > 10_000_000 else 3
    feast = Call("Feast, our store", "through_feast", given, fresh=True, runs=runs)
    plain = Call("plain ASOF", "plain_asof", given | {"late": late}, fresh=True, runs=runs)
    references = [plain]
    references += [Call("pandas.merge_asof", "merge_asof", given, fresh=True, runs=1)] if pandas else []
    targets = [Target("seconds", 1.3, "plain ASOF"), Target("memory", 1.3, "plain ASOF")]
    targets += [Target("peak", 6 * 1024, text="peak <= 6 GB")] if capped else []
    return Row(name, size, "history rows", feast, tuple(references), tuple(targets), "" if late else "as-of join")


def _few(entities: int, size: int) -> Row:
    given = {"entities": str(data.made("entities", entities)), "histories": str(data.made("histories", size, 0))}
    return Row(
        f"{entities:,} entities",
        size,
        "history rows",
        Call("Feast, our store", "through_feast", given),
        (Call("Feast, its DuckDB store", "feast_duckdb", given),),
        (Target("seconds", 10, "Feast, its DuckDB store", faster=True),),
    )


# ---- the subject --------------------------------------------------------------------------------


def through_feast(entities: str, histories: str, memory: str = "4GB") -> Work:
    """Set up Feast over our offline store."""
    return _feast(entities, histories, "include.feature_store.offline_store.AsofOfflineStore", {"memory_limit": memory})


# ---- the references -------------------------------------------------------------------------------


def plain_asof(entities: str, histories: str, memory: str, late: int) -> Work:
    """Set up DuckDB's ``ASOF JOIN`` without Feast."""
    import duckdb

    from include.core import sql

    # keep the order of the entity rows, as every training set needs it
    joins, values = [], []
    for name, (_, keys) in HISTORIES.items():
        on = " AND ".join(
            [*(f"e.{key} = {name}.{key}" for key in keys), f"e.event_timestamp >= {name}.event_timestamp"]
        )
        files = f"read_parquet('{histories}/{name}/*/*.parquet', hive_partitioning = false)"
        columns = ", ".join((*keys, "event_timestamp", *VALUES))
        joins.append(f"ASOF LEFT JOIN (SELECT {columns} FROM {files}) {name} ON {on}")
        values += [f"{name}.{value} AS {name}__{value}" for value in VALUES]

    def run() -> Facts:
        with tempfile.TemporaryDirectory() as spill:
            con = duckdb.connect(
                config={"threads": threads(), "memory_limit": memory, "temp_directory": spill},
            )
            con.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            rows = sql.parquet([f"{entities}/entities.parquet"])
            asked = f"SELECT *, row_number() OVER () AS position FROM {rows}"
            table = con.sql(
                f"SELECT e.* EXCLUDE (position), {', '.join(values)} FROM ({asked}) e {' '.join(joins)} "
                "ORDER BY e.position"
            ).to_arrow_table()
            con.close()
        # with late rows this join finds values that were not known yet: a reference for speed, not an answer
        return {} if late else _answer(table.select([name.split(" AS ")[1] for name in values]))

    return Work(run)


def merge_asof(entities: str, histories: str, memory: str) -> Work:
    """Set up ``pandas.merge_asof``, one history after the other."""
    import pandas as pd
    import pyarrow as pa
    from deltalake import DeltaTable

    def run() -> Facts:
        left = pd.read_parquet(f"{entities}/entities.parquet", partitioning=None).sort_values(
            "event_timestamp", kind="stable"
        )
        for name, (_, keys) in HISTORIES.items():
            wanted = [*keys, "event_timestamp", *VALUES]
            right = DeltaTable(f"{histories}/{name}").to_pyarrow_dataset().to_table(wanted).to_pandas()
            right = right.rename(columns={value: f"{name}__{value}" for value in VALUES})
            right = right.sort_values("event_timestamp", kind="stable")
            left = pd.merge_asof(left, right, on="event_timestamp", by=list(keys))
        features = [f"{name}__{value}" for name in HISTORIES for value in VALUES]
        return _answer(pa.Table.from_pandas(left[features], preserve_index=False))

    return Work(run)


def feast_duckdb(entities: str, histories: str) -> Work:
    """Set up Feast over its own DuckDB store."""
    return _feast(entities, histories, "duckdb", {})


def _feast(entities: str, histories: str, store_type: str, options: dict[str, Any]) -> Work:
    from datetime import timedelta

    import pyarrow.parquet as pq
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import DeltaFormat, ParquetFormat
    from feast.types import Float32, Float64, Int64, String

    home = tempfile.TemporaryDirectory()
    ours = {"type": store_type, **options} | ({"threads": threads()} if "include" in store_type else {})
    config = {
        "project": "bench", "provider": "local", "registry": f"{home.name}/registry.db", "offline_store": ours,
        "online_store": {"type": "sqlite", "path": f"{home.name}/online.db"}, "entity_key_serialization_version": 3,
    }  # fmt: skip
    store = FeatureStore(config=RepoConfig(**config))

    def where(name: str) -> dict[str, Any]:
        if "include" in store_type:
            return {"path": f"{histories}/{name}", "file_format": DeltaFormat()}
        # read the files of the table: for Delta this store would download an extension of DuckDB
        return {"path": f"{histories}/{name}/*/*.parquet", "file_format": ParquetFormat()}

    numbers = {"flight", "sched_dep_hour"}
    keys = sorted({key for _, keys in HISTORIES.values() for key in keys})
    kinds = {key: ValueType.INT64 if key in numbers else ValueType.STRING for key in keys}
    known = {key: Entity(name=key, join_keys=[key], value_type=kind) for key, kind in kinds.items()}
    types = {"flights": Int64, "disrupted": Int64, "rate": Float32, "delay": Float64}
    views = [
        FeatureView(
            name=name,
            entities=[known[key] for key in of],
            ttl=timedelta(days=400),
            schema=[
                *(Field(name=key, dtype=Int64 if key in numbers else String) for key in of),
                *(Field(name=value, dtype=types[value]) for value in VALUES),
            ],
            source=FileSource(
                name=name, **where(name), timestamp_field="event_timestamp",
                created_timestamp_column="created_timestamp",
            ),
        )
        for name, (_, of) in HISTORIES.items()
    ]  # fmt: skip
    store.apply([*known.values(), *views])
    wanted = [f"{view.name}:{value}" for view in views for value in VALUES]
    home_kept = home  # the folder is deleted with this closure

    def run() -> Facts:
        asked = pq.read_table(f"{entities}/entities.parquet", partitioning=None)
        given = asked if "include" in store_type else asked.to_pandas()
        table = store.get_historical_features(given, wanted, full_feature_names=True).to_arrow()
        assert Path(home_kept.name).exists()
        return _answer(table.select([name.replace(":", "__") for name in wanted]))

    return Work(run)


def _answer(table: Any) -> Facts:
    """Return sum and number of values of each column; the caller fixes the order of the columns."""
    import pyarrow.compute as pc

    found: list[float] = []
    for column in table.columns:
        found += [float(pc.sum(column.cast("float64")).as_py() or 0), float(len(column) - column.null_count)]
    return {"answer": found, "rows": table.num_rows}
