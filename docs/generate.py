"""Write the reference pages from the code: spec fields, suites, operators, settings, make targets, DAG forms.

``docs/hooks.py`` calls :func:`pages` at every build, so no page is stored and none can be out of date. Modules are
found by what they contain, not by their names, so that a renamed module changes nothing here.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from docs.markup import BOUNDS, KINDS, cell, code, plain
from docs.spec_reference import attributes, spec_page, suites_page
from supply_chain import licences

REPOSITORY = Path(__file__).resolve().parents[1]
ENV_FILE = REPOSITORY / "docker" / "airflow.env"
_SETTING = re.compile(r"\bLIFECYCLE_[A-Z_]+[A-Z]\b")
_NOTE = "<!-- Generated from the code by docs/generate.py. -->\n"


def pages() -> dict[str, str]:
    """Return every reference page: path below ``docs/`` and Markdown text."""
    forms = dag_forms()
    return {
        "reference/spec.md": _NOTE + spec_page(),
        "reference/suites.md": _NOTE + suites_page(),
        "reference/operators.md": _NOTE + operators_page(forms),
        "reference/settings.md": _NOTE + settings_page(),
        "reference/make.md": _NOTE + make_page(),
        "reference/dags.md": _NOTE + dags_page(forms),
        "reference/licences.md": _NOTE + licences.page(),
    }


# ---- operators ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operator:
    """One operator class of the plugin, read without importing Airflow."""

    name: str
    module: str
    bases: tuple[str, ...]
    about: str
    parameters: Mapping[str, str]


def operators() -> list[Operator]:
    """Return every operator of the plugin, by name."""
    found = []
    for path in sorted((REPOSITORY / "plugins").rglob("operators/**/*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Operator"):
                found.append(_operator(node, path))
    return sorted(found, key=lambda operator: operator.name)


def _operator(node: ast.ClassDef, path: Path) -> Operator:
    about, *parameters = re.split(r"^:param ", ast.get_docstring(node) or "", flags=re.MULTILINE)
    named = dict(parameter.split(":", 1) for parameter in parameters)
    bases = tuple(ast.unparse(base) for base in node.bases)
    module = str(path.relative_to(REPOSITORY))
    return Operator(
        node.name, module, bases, about.strip(), {name: " ".join(text.split()) for name, text in named.items()}
    )


def operators_page(forms: Mapping[str, Any]) -> str:
    """Return the page on every operator, its parameters, and the tasks that are one."""
    text = "# Operators\n\nEach is thin: its `execute` calls one function of `include/steps`.\n\n"
    known = {operator.name: operator for operator in operators()}
    for operator in known.values():
        bases = ", ".join(_operator_link(base, known) for base in operator.bases)
        text += f"## {operator.name}\n\n{plain(operator.about)}\n\n"
        text += f"Of {bases}, in `{operator.module}`."
        uses = sorted(
            f"`{dag.partition('_')[2]}.{task}`"
            for dag, form in forms.items()
            for task, name in form["tasks"].items()
            if name == operator.name
        )
        text += f" Tasks: {', '.join(uses)}.\n\n" if uses else "\n\n"
        if operator.parameters:
            text += "| parameter | meaning |\n|---|---|\n"
            text += (
                "".join(f"| `{name}` | {cell(plain(said))} |\n" for name, said in operator.parameters.items()) + "\n"
            )
    return text


def _operator_link(name: str, known: Mapping[str, Operator]) -> str:
    return f"[{name}](#{name.lower()})" if name in known else f"`{name}`"


# ---- settings -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One line of ``docker/airflow.env`` with the comment above it."""

    name: str
    value: str
    section: str
    about: str


def settings() -> list[Setting]:
    """Return every setting of ``docker/airflow.env``, in order."""
    found: list[Setting] = []
    section, comment = "", [""]
    for line in ENV_FILE.read_text(encoding="utf-8").splitlines():
        if head := re.fullmatch(r"# --- (.+) ---", line):
            section, comment = head.group(1), []
        elif line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif "=" in line:
            name, value = line.split("=", 1)
            found.append(Setting(name, value, section, " ".join(comment)))
            comment = []
        else:
            comment = []
    return found


def placeholders() -> dict[str, str]:
    """Return the names that the head of ``docker/airflow.env`` explains, with what each means."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in ENV_FILE.read_text(encoding="utf-8").split("\n# ---")[0].splitlines():
        match = re.match(r"#   ((?:LIFECYCLE_[A-Z_]+(?:, )?)+)\s+(.+)", line)
        if match:
            names = match.group(1).split(", ")
            found |= dict.fromkeys(names, match.group(2))
    return found


@functools.cache
def other_settings() -> list[str]:
    """Return the ``LIFECYCLE_`` names that code reads and ``docker/airflow.env`` does not list."""
    named: set[str] = set()
    for path in [*(REPOSITORY / "include").rglob("*.py"), *(REPOSITORY / "plugins").rglob("*.py")]:
        if "use_cases" not in path.parts:
            named |= _names_in(ast.parse(path.read_text(encoding="utf-8")))
    listed = {setting.name for setting in settings()} | set(placeholders())
    return sorted(
        name for name in {*named, *_ELSEWHERE} - listed if not name.endswith(("_PASSWORD", "_KEY", "_SECRET"))
    )


def _names_in(tree: ast.AST) -> set[str]:
    """Return the settings that appear as a whole string in the code; docstrings and messages do not count."""
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in strings if _SETTING.fullmatch(text)}


def documented_attributes() -> dict[str, str]:
    """Return what the classes of the ``settings.py`` modules say of their fields, by name of the setting."""
    found: dict[str, str] = {}
    for path in sorted((REPOSITORY / "include").rglob("settings.py")):
        module = import_module(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ == module.__name__:
                found |= {f"LIFECYCLE_{name.upper()}": text for name, text in attributes(cls).items()}
    return found


# read in one place each, where their meaning is a sentence of a longer text
_ELSEWHERE = {
    "LIFECYCLE_USE_CASES": "further folders of use cases, separated by `:`; the stack remembers it from start to start",
    "LIFECYCLE_USE_CASE": "use case whose registry the `feast` command reads",
    "LIFECYCLE_CHECKPOINTS": "folder or address of a search worker's checkpoints, where its place gives it one",
    "LIFECYCLE_SEARCH_SLOTS": "size of the Airflow pool `gpu` in containers, where nobody counts the GPUs",
    "LIFECYCLE_LEASE": "set for a worker: the claim on its GPU or CPU slot, which is checked before each write",
    "LIFECYCLE_FAULT_POINT": "for tests: lines at which a process dies or halts (`include/core/fault_points.py`)",
    "LIFECYCLE_FAULT_ONCE": "for tests: folder of files by which each of these lines acts once",
    "LIFECYCLE_LEASE_WAIT_SECONDS": "seconds that a worker waits for a free GPU or CPU slot, default 600",
}


def settings_page() -> str:
    """Return the page on every setting."""
    text = (
        "# Settings\n\nSettings are environment variables. `docker/airflow.env` is the one file of them, for every way "
        "of starting. Later wins: that file, `LIFECYCLE_*` of your shell, `overrides.env` in the state folder "
        "(`var/` unless `LIFECYCLE_HOME` says otherwise; the same `KEY=VALUE` lines).\n\n## Filled in at the start\n\n"
        "The starter gives these; the lines below use them as `${NAME}`.\n\n| name | meaning |\n|---|---|\n"
    )
    text += "".join(f"| `{name}` | {cell(plain(about))} |\n" for name, about in placeholders().items())
    known = documented_attributes()
    section = None
    for setting in settings():
        if setting.section != section:
            section = setting.section
            text += f"\n## {section}\n\n| name | default | meaning |\n|---|---|---|\n"
        said = setting.about or known.get(setting.name, "")
        text += f"| `{setting.name}` | {code(setting.value)} | {cell(plain(said))} |\n"
    text += "\n## Read by the code, and not in the file\n\n| name | meaning |\n|---|---|\n"
    for name in other_settings():
        text += f"| `{name}` | {cell(plain(known.get(name) or _ELSEWHERE.get(name, '')))} |\n"
    return text


# ---- make ---------------------------------------------------------------------------------------------


def make_targets() -> dict[str, list[tuple[str, str]]]:
    """Return the targets of the Makefile with their ``##`` texts, by section."""
    found: dict[str, list[tuple[str, str]]] = {}
    section = "Targets"
    for line in (REPOSITORY / "Makefile").read_text(encoding="utf-8").splitlines():
        if line.startswith("##@ "):
            section = line.removeprefix("##@ ")
        elif match := re.match(r"^([a-zA-Z0-9%_-]+):.*?## (.*)", line):
            found.setdefault(section, []).append((match.group(1), match.group(2)))
    return found


def make_page() -> str:
    """Return the page on every make target."""
    text = (
        '# Make targets\n\n`make` alone prints this list. `ARGS="..."` is handed on where a target runs a program.\n\n'
    )
    for section, targets in make_targets().items():
        text += f"## {section}\n\n| target | does |\n|---|---|\n"
        text += "".join(f"| `make {name}` | {cell(about)} |\n" for name, about in targets) + "\n"
    return text


# ---- DAGs ---------------------------------------------------------------------------------------------

_FORMS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
def form(dag):
    fields = {name: dag.params.get_param(name) for name in dag.params}
    return {
        "doc": dag.doc_md or "", "schedule": type(dag.timetable).__name__,
        "tasks": {task.task_id: task.task_type for task in dag.tasks},
        "params": {name: {"value": p.value, "about": p.description, "schema": p.schema} for name, p in fields.items()},
    }
found = {dag_id: form(dag) for dag_id, dag in bag.dags.items()}
print(json.dumps({"dags": found, "errors": bag.import_errors}, default=str))
"""


def dag_forms(use_case: str = "flights") -> dict[str, Any]:
    """Return doc, tasks and form of each DAG of one use case, as a fresh Airflow parses them.

    Raises:
        RuntimeError: a DAG file does not parse.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LIFECYCLE"))}
    with tempfile.TemporaryDirectory(prefix="airflow-") as home:
        environ = {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}",
        }
        command = [sys.executable, "-c", _FORMS, str(REPOSITORY / "dags")]
        done = subprocess.run(
            command, env=clean | environ, cwd=home, capture_output=True, encoding="utf-8", timeout=300, check=False
        )
    if done.returncode:
        raise RuntimeError(f"the DAG files could not be read for the reference: {done.stderr[-2000:]}")
    read = json.loads(done.stdout.splitlines()[-1])
    if read["errors"]:
        raise RuntimeError(f"DAG files do not parse: {read['errors']}")
    pattern = re.compile(rf"{use_case}_[a-z]+")
    return {dag_id: form for dag_id, form in sorted(read["dags"].items()) if pattern.fullmatch(dag_id)}


def dags_page(forms: Mapping[str, Any]) -> str:
    """Return the page on every DAG: what a run does, its tasks, its form."""
    text = (
        "# DAGs and their forms\n\nEvery use case has these DAGs, here with the forms of `flights`. Every field may be "
        "left as it is. A form's values are checked by a JSON schema before the DAG run exists.\n\n"
    )
    for dag_id, form in forms.items():
        text += f"## {dag_id.partition('_')[2]}\n\n{form['doc'].strip()}\n\n"
        text += f"Tasks: {', '.join(f'`{task}`' for task in form['tasks'])}.\n\n| field | takes | default | meaning |\n"
        text += "|---|---|---|---|\n"
        for name, param in form["params"].items():
            text += (
                f"| `{name}` | {cell(_takes(param['schema']))} | {code(json.dumps(param['value']))} "
                f"| {cell(plain(param['about'] or ''))} |\n"
            )
        text += "\n"
    return text


def _takes(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"] if value is not None)
    bounds = [text.format(schema[name]) for name, text in BOUNDS.items() if name in schema and name != "pattern"]
    words = [KINDS.get(kind, kind) for kind in kinds if kind != "null"]
    if schema.get("format") == "date":
        words = ["day"]
    return ", ".join([" or ".join(words), *bounds]) + (", or empty" if "null" in kinds else "")


if __name__ == "__main__":
    for path, text in pages().items():
        sys.stdout.write(f"===== {path}\n{text}\n")
