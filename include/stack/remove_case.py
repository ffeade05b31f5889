"""Remove what a use case has left in the lake, Feast, MLflow and Airflow, after a list of it and a yes.

``make remove-case CASE=weather``. The use case's folder must be gone; the stack must run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence

from include.core import command
from include.core.errors import LifecycleError
from include.core.settings import Settings
from include.stack.api import AirflowApi
from include.stack.layout import Layout
from include.steps import removal
from include.steps.removal import Part

REMOVED, NOT_REMOVED = 0, 2


def dags_of(api: AirflowApi, name: str) -> list[Part]:
    """Return the DAGs of a use case that Airflow still has, with their DAG runs."""
    ids = [str(dag["dag_id"]) for dag in api.dags() if str(dag["dag_id"]).rpartition("_")[0] == name]

    def delete() -> None:
        for dag_id in ids:
            api.call("DELETE", f"/dags/{dag_id}")

    return [Part("Airflow", f"{len(ids)} DAGs with all of their DAG runs: {', '.join(ids)}", delete)] if ids else []


def remove(name: str, parts: Sequence[Part], answer: Callable[[str], str]) -> Iterator[str]:
    """List the parts, ask for the name as a yes, delete them; yield a line for each step."""
    if not parts:
        yield f"{name}: nothing is left of it"
        return
    width = max(len(part.where) for part in parts)
    for part in parts:
        yield f"  {part.where:{width}}  {part.what}"
    yield "This cannot be undone."
    if answer(f"Type {name} to delete all of it: ").strip() != name:
        yield f"{name}: nothing was deleted"
        return
    for part in parts:
        part.delete()
        yield f"deleted  {part.where}: {part.what}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status: 0 nothing is left, 2 nothing was deleted, 1 an error."""
    parser = argparse.ArgumentParser(
        prog="python -m include.stack.remove_case", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    asked = parser.parse_args(arguments)
    name = asked.use_case
    try:
        parts = removal.leftovers(Settings.from_environ(), name)
        parts = [*dags_of(AirflowApi.from_layout(Layout.from_environ()), name), *parts]
        said = ""
        for said in remove(name, parts, (lambda _: name) if asked.yes else _asked):
            print(said, flush=True)
    except LifecycleError as error:
        print(error, file=sys.stderr)
        return 1
    return NOT_REMOVED if said.endswith("nothing was deleted") else REMOVED


def _asked(question: str) -> str:
    try:
        return input(question)
    except EOFError:
        return ""


if __name__ == "__main__":
    command.run(main)
