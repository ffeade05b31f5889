"""A clone, its state and the temporary folder in `my project ü`: the chain from the source to published scores."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from include.core.repository import REPOSITORY

COPIED = ("dags", "docker", "feast_repo", "include", "plugins", "tests")
OVERRIDES = """\
LIFECYCLE_FEAST_REGISTRY=sqlite:///${LIFECYCLE_HOME}/registry.db
LIFECYCLE_OPTUNA_STORAGE=sqlite:///${LIFECYCLE_HOME}/studies.db
MLFLOW_TRACKING_URI=sqlite:///${LIFECYCLE_HOME}/mlflow.db
"""
CHAIN = """
import json, os, sys
from include.core.repository import REPOSITORY
from include.stack.environment import service_environ
from include.stack.layout import Layout
environ = service_environ(Layout.from_environ(), {})
os.environ.clear(), os.environ.update(environ)
from mlflow import MlflowClient
from include.core.settings import Settings
from include.registry import keys
from include.steps import features, publishing
from include.steps.promote import deciding
from include.steps.score import predicting
from include.steps.train import registering, search, training_sets
from include.steps.workspace import Workspace
from tests.unit import chain
from include.steps.train.search import search_here

def audited(stages, by):
    publishing.audit(workspace, stages, by)
    return publishing.publish(workspace, stages, by)

keys.ensure(Settings.from_environ())
workspace = Workspace(Settings.from_environ(), chain.autumn())
span = chain.span(chain.FIRST, chain.AS_OF)
chain.land(workspace, span.first, span.last, chain.attempt())
by = chain.attempt(dag="autumn_features")
audited(features.stage(workspace, span, by), by)
features.materialize(workspace, chain.span(chain.AS_OF))
by = chain.attempt("train", "autumn_train")
MlflowClient().create_experiment("autumn", artifact_location=str(REPOSITORY / "var" / "artifacts"))
frozen = training_sets.freeze(workspace, chain.AS_OF, by)
search_here(workspace, frozen)
registering.register(workspace, search.fit(workspace, frozen, by), by)
by = chain.attempt("promote", "autumn_promote")
deciding.promote(workspace, deciding.propose(workspace, None, by), "auto", by)
by = chain.attempt("score", "autumn_score")
done = audited(predicting.stage(workspace, chain.span(chain.AS_OF), predicting.AS_OF_CLOCK, by), by)
rows = chain.rows_of(workspace, "autumn/predictions/scores", chain.AS_OF)
json.dump({"repository": str(REPOSITORY), "changed": done.changed, "scored": rows.num_rows}, sys.stdout)
"""


@pytest.mark.slow
def test_the_chain_runs_in_a_clone_whose_path_has_a_space_and_an_umlaut(tmp_path: Path) -> None:
    """C30: files were looked for below `my%20project%20%C3%BC`."""
    clone = tmp_path / "my project ü"
    for name in COPIED:
        shutil.copytree(REPOSITORY / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for folder in ("var", "tmp"):
        (clone / folder).mkdir()
    (clone / "var" / "overrides.env").write_text(OVERRIDES, encoding="utf-8")
    shell = {name: value for name, value in os.environ.items() if not name.startswith("LIFECYCLE_")}
    done = subprocess.run(
        [sys.executable, "-c", CHAIN],
        env={**shell, "PYTHONPATH": f"{clone}{os.pathsep}{clone / 'plugins'}", "TMPDIR": str(clone / "tmp")},
        cwd=clone,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["repository"] == str(clone.resolve())
    assert said["changed"]["autumn/predictions/scores"] == 1
    assert said["scored"] > 900
    assert (clone / "var" / "lake" / "autumn" / "predictions" / "scores" / "_delta_log").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == [clone.name]
