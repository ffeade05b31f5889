"""The accelerator operator on this machine: what it returns, records and links to, and how it ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from include.accelerators import hardware, job, tracking, usage
from include.accelerators.usage import Usage
from include.core.errors import AcceleratorError
from include.spec.accelerator import AcceleratorSpec, Place
from include.steps.handover import FrozenTrainingSet
from include.steps.workspace import Workspace
from lifecycle.operators.accelerator import AcceleratorOperator
from lifecycle.operators.train import SearchOperator
from tests.operators.test_accelerator_remote import context
from tests.waiting import until

WORKER = """
import sys, time
print("working on", sys.argv[1:])
if sys.argv[1] == "fail": sys.exit("the study database does not answer")
if sys.argv[1] == "hang": time.sleep(3600)
"""


class Mlflow:
    """Keeps what is recorded in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[tuple[str, str]] = []
        self.used: list[Usage] = []
        self.ended: list[bool] = []
        monkeypatch.setattr(tracking, "begin", self.begin)
        monkeypatch.setattr(tracking, "record", lambda run, used: self.used.append(used))
        monkeypatch.setattr(tracking, "end", lambda run, succeeded: self.ended.append(succeeded))

    def begin(self, uri: str, experiment: str, name: str, tags: dict[str, str]) -> tracking.TrackedRun:
        self.names.append((experiment, name))
        assert tags["dag_run_id"] == "manual__1"
        return tracking.TrackedRun("http://mlflow.example", "7", "")


@pytest.fixture
def mlflow(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    (tmp_path / "sample_task_worker.py").write_text(WORKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    monkeypatch.setenv("LIFECYCLE_LEASES", str(tmp_path / "leases"))
    monkeypatch.setattr(hardware, "gpus", tuple)
    return Mlflow(monkeypatch)


def task(*arguments: str, **more: Any) -> AcceleratorOperator:
    return AcceleratorOperator(
        task_id="search", use_case="flights", module="sample_task_worker", arguments=list(arguments),
        accelerator=None, **more,
    )  # fmt: skip


def test_a_worker_s_usage_is_returned_and_recorded(mlflow: Mlflow) -> None:
    done = task("4").execute(context())
    assert (done["usage"]["place"], done["usage"]["device"]) == ("local", "cpu")
    assert done["usage"]["cost_usd"] is None
    assert mlflow.names == [("flights_workers", "search 0")]
    assert [used.seconds for used in mlflow.used] == [done["usage"]["seconds"]]
    assert mlflow.ended == [True]


def test_a_failed_worker_fails_the_task_with_its_own_words_and_is_recorded(mlflow: Mlflow) -> None:
    with pytest.raises(AcceleratorError, match=r"exit code 1: .*the study database does not answer"):
        task("fail").execute(context())
    assert (len(mlflow.used), mlflow.ended) == (1, [False])


def test_a_killed_task_ends_its_worker(mlflow: Mlflow) -> None:
    killed = task("hang")

    def kill() -> None:
        until(lambda: killed._local_run is not None and killed._local_run._worker is not None, "a running worker")
        killed.on_kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(AcceleratorError, match="was stopped"):
        killed.execute(context())
    killer.join()
    assert mlflow.ended == [False]


def test_a_gpu_that_is_required_and_missing_is_a_clear_error(mlflow: Mlflow) -> None:
    with pytest.raises(AcceleratorError, match="a GPU is required and this machine has none"):
        task("4", needs=AcceleratorSpec(gpu="required")).execute(context())
    assert mlflow.ended == [False]


def test_a_job_elsewhere_runs_the_same_worker_and_hands_on_its_exit_code(
    mlflow: Mlflow, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert job.main(["--place", "kubernetes", "--price", "3600", "sample_task_worker", "--trials", "4"]) == 0
    assert "working on ['--trials', '4']" in capfd.readouterr().out
    (used,) = mlflow.used
    assert (used.place, used.device) == ("kubernetes", "cpu")
    assert used.cost_usd == pytest.approx(used.seconds)
    assert job.main(["--place", "kubernetes", "sample_task_worker", "fail"]) == 1


@pytest.mark.parametrize(("trials", "budget"), [(None, None), ("", None), (4, 4), ("4", 4)])
@pytest.mark.parametrize(("place", "shared"), [("local", True), ("kubernetes", False)])
def test_a_search_worker_pulls_from_the_asked_budget(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, trials: Any, budget: int | None, place: Place, shared: bool
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(
        "include.steps.train.search.arguments", lambda *given, **named: calls.append((*given[1:], named))
    )
    frozen = FrozenTrainingSet(
        as_of="2013-11-01", table="set", uri="s3://bucket/set", version=3, rows=7, trained_through="2013-10-31",
        fingerprint="0" * 64,
    )  # fmt: skip
    worker = SearchOperator(
        task_id="search", use_case="flights", training_set=frozen.model_dump(), worker=1, trials=trials,
        needs=AcceleratorSpec(cores=2),
    )  # fmt: skip
    worker.worker_arguments(workspace, place)
    assert calls == [(frozen, budget, {"threads": 2, "shared": shared})]


def test_usage_survives_the_way_through_mlflow() -> None:
    used = Usage(
        place="sagemaker",
        device="A10G",
        seconds=12.5,
        gpu_seconds=12.5,
        cpu_seconds=9.0,
        peak_rss_gb=1.5,
        peak_vram_gb=20.25,
        utilisation=0.8,
        cost_usd=None,
    )
    assert Usage.from_metrics(used.metrics(), "sagemaker", "A10G") == used
    assert Usage.from_metrics({}, "", "") is None


def test_usage_of_several_workers_adds_up() -> None:
    long = Usage(
        place="local",
        device="A10G",
        seconds=30.0,
        gpu_seconds=30.0,
        cpu_seconds=9.0,
        peak_rss_gb=1.5,
        peak_vram_gb=20.25,
        utilisation=0.8,
        cost_usd=0.3,
    )
    short = Usage(
        place="local",
        device="A10G",
        seconds=10.0,
        gpu_seconds=10.0,
        cpu_seconds=3.0,
        peak_rss_gb=2.5,
        peak_vram_gb=4.0,
        utilisation=0.4,
        cost_usd=0.1,
    )
    together = {
        "usage/workers": 2, "usage/seconds": 40, "usage/gpu_seconds": 40, "usage/cpu_seconds": 12,
        "usage/peak_rss_gb": 2.5, "usage/peak_vram_gb": 20.25, "usage/utilisation": 0.7, "usage/cost_usd": 0.4,
    }  # fmt: skip
    assert usage.total([long, short]) == pytest.approx(together)
    unpriced = short.model_copy(update={"cost_usd": None})
    assert "usage/cost_usd" not in usage.total([long, unpriced])
    assert usage.total([]) == {}


def test_a_run_links_to_its_page() -> None:
    assert (
        tracking.TrackedRun("http://mlflow.example/", "7", "abc").url
        == "http://mlflow.example/#/experiments/7/runs/abc"
    )
    assert tracking.TrackedRun("sqlite:///mlflow.db", "7", "abc").url == ""
