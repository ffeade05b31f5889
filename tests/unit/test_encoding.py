"""Files and output of other programs are read and written as UTF-8, whatever the locale of the process is."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from include.core.repository import REPOSITORY
from include.stack.environment import service_environ
from include.stack.layout import Layout
from include.training.fit import fit_best
from include.training.model import load_model
from include.training.study.searching import search, study_name
from include.training.training_set import TrainingSet
from tests.unit.training_rows import model_settings, training_rows

CODE = ("include", "plugins", "dags", "feast_repo", "docs", "tests")
METHODS = {"read_text", "write_text"}
OPENERS = {"open", "fdopen", "TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile"}
PROGRAMS = {"run", "Popen", "check_output", "check_call", "call"}
# not of files: Delta tables, archives, file descriptors, pictures, pages, our own classes
NOT_FILES = {"Workspace", "MlflowRun", "history", "one", "lake", "_lake", "archive", "self", "now", "Image", "page"}


def files() -> Iterator[Path]:
    """Yield every Python file but the tests themselves, whose texts are their own."""
    for folder in CODE:
        yield from (path for path in (REPOSITORY / folder).rglob("*.py") if not path.name.startswith("test_"))


def opens_text(call: ast.Call, name: str, on: ast.expr | None) -> bool:
    """Tell whether ``call`` opens a file in text mode."""
    if isinstance(on, ast.Name) and (on.id in NOT_FILES or (on.id == "os" and name == "open")):
        return False
    if isinstance(on, ast.Attribute) and on.attr in NOT_FILES:
        return False
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    # Path.open has the mode first, the temporary files too, open() and os.fdopen() have it second
    place = 1 if on is None or (isinstance(on, ast.Name) and on.id == "os") else 0
    given += call.args[place : place + 1]
    mode = given[0].value if given and isinstance(given[0], ast.Constant) else None
    binary_unless_said = name.endswith("TemporaryFile")
    return "b" not in str(mode) if mode is not None else not binary_unless_said


def faults(path: Path) -> Iterator[str]:
    """Yield every call in ``path`` that leaves the encoding to the locale."""
    for call in (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        on = call.func.value if isinstance(call.func, ast.Attribute) else None
        named = {keyword.arg for keyword in call.keywords}
        text = name in METHODS or (name in OPENERS and opens_text(call, name, on)) or name == "TextIOWrapper"
        decoded = name in PROGRAMS and bool(named & {"text", "universal_newlines"})
        positional = name == "TextIOWrapper" and len(call.args) > 1
        if (text or decoded) and "encoding" not in named and not positional:
            yield f"{path.relative_to(REPOSITORY)}:{call.lineno}: {name}"


def test_no_file_is_read_in_the_encoding_of_the_locale() -> None:
    """C05: every reader and writer says UTF-8."""
    assert [fault for path in files() for fault in faults(path)] == []


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale in which Python reads and writes text as ASCII, for processes that the stack does not start."""

CHILD = """
import json, locale, sys
from pathlib import Path
import duckdb, pyarrow as pa
from include.core.partitions import Span
from include.feature_store import feature_sql
from include.spec.loading import load_use_case
from include.training.model import load_model
assert locale.getencoding() not in ("UTF-8", "utf-8"), locale.getencoding()
folder = Path(sys.argv[1])
rows = pa.table(json.loads(sys.stdin.buffer.read()))
con = duckdb.connect()
case = load_use_case("flights")
views = case.features.model_copy(update={"views": {"cities": ("city",)}})
case = case.model_copy(update={"features": views})
case._assets_folder = folder
queries = feature_sql.compute(con, case, Span.one("2013-11-02"))
matched = con.execute(f"SELECT found FROM ({queries['cities']})").fetchall()
print(json.dumps({"predicted": load_model(folder / "model").predict(rows).tolist(), "matched": matched}))
"""


def test_a_process_in_an_ascii_locale_scores_and_selects_the_same(tmp_path: Path) -> None:
    """C05: the category `São Paulo` of a model, and as a literal of feature SQL, is found in every locale."""
    rows = training_rows()
    cities = pc.replace_substring(rows["carrier"], "B6", "São Paulo")
    rows = rows.set_column(rows.schema.get_field_index("carrier"), "carrier", cities)
    frozen, settings = TrainingSet.of(rows), model_settings(trials=1, families={"lightgbm": {"rounds": 20}})
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    name = study_name("flights", frozen.fingerprint, settings)
    search(storage, name, frozen, settings)
    fit_best(storage, name, frozen, settings, tmp_path / "model", use_case="flights")
    folder = tmp_path / "sql" / "features"
    folder.mkdir(parents=True)
    found = "city = 'São Paulo' AS found, clock AS event_timestamp, clock AS created_timestamp"
    query = f"SELECT ds, chr(83) || chr(227) || 'o Paulo' AS city, {found} FROM partitions"
    (folder / "cities.sql").write_text(query, encoding="utf-8")

    asked = {**rows.slice(0, 50).select(["carrier", "rate", "noise", "gap"]).to_pydict()}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        input=json.dumps(asked).encode(),
        env={**os.environ, **ASCII},
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    answer = json.loads(done.stdout)
    assert answer["matched"] == [[True]]
    assert answer["predicted"] == load_model(tmp_path / "model").predict(pa.table(asked)).tolist()
    assert "São Paulo" in asked["carrier"]


def test_the_services_run_in_utf_8(tmp_path: Path) -> None:
    """C05: libraries, too, read their files as UTF-8 in every process of the stack, whatever the shell says."""
    environ = service_environ(Layout(tmp_path), {}, {"LC_ALL": "de_DE.ISO-8859-1", "PYTHONUTF8": "0"})
    assert environ["PYTHONUTF8"] == "1"
