"""An audit that has passed, for tests whose subject is not the suites."""

from __future__ import annotations

from include.steps.handover import Stages
from include.steps.workspace import Workspace


def pass_audit(workspace: Workspace, stages: Stages) -> None:
    """Write into each stage what an audit writes that has found nothing."""
    for path in stages.folders.values():
        passed = {"verdict": "passed", "checked": 0, "failed": 0, "warned": 0, "docs": None}
        workspace.lake.open_stage(path).save_audit(passed)
