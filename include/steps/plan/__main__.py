"""Print what is stale in a use case and what to compute again; nothing is changed.

``make plan CASE=flights``. The exit status of the module is 0 if nothing is stale, 2 if something is, 1 after an error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from include.core import command
from include.core.errors import LifecycleError, MissingPartitions
from include.steps.plan import planning, told
from include.steps.workspace import Workspace

NOTHING_TO_DO, SOMETHING_TO_DO = 0, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status: 0 nothing is stale, 2 something is, 1 an error."""
    parser = argparse.ArgumentParser(prog="python -m include.steps.plan", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    asked = parser.parse_args(arguments)
    try:
        plan = planning.make(Workspace.open(asked.use_case))
    except (LifecycleError, MissingPartitions) as error:
        print(error, file=sys.stderr)
        return 1
    if asked.json:
        print(plan.model_dump_json(indent=2))
    else:
        print("\n".join(told.lines(plan, told.followers_of(asked.use_case))))
    return NOTHING_TO_DO if plan.empty else SOMETHING_TO_DO


if __name__ == "__main__":
    command.run(main)
