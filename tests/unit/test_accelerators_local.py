"""Workers on this machine: where they run, what is heard of them, how they end."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from include.accelerators import hardware, lease, local, process
from include.accelerators.hardware import Gpu
from include.accelerators.lease import Slot
from include.accelerators.local import LocalRun
from include.accelerators.settings import AcceleratorSettings
from include.core.errors import AcceleratorError
from include.spec.accelerator import AcceleratorSpec
from tests.waiting import HANGS_AFTER_S, until

WORKER = """
import os, sys, time, subprocess
act = sys.argv[1]
print("cuda", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
print("lease", os.environ["LIFECYCLE_LEASE"], flush=True)
if act == "fail":
    print("no such column", file=sys.stderr)
    sys.exit(3)
if act == "raise":
    raise ValueError("bad value")
if act == "burn":
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
if act == "hang":
    child = subprocess.Popen(["sleep", "3600"])
    open(sys.argv[2], "w").write(f"{os.getpid()} {child.pid}")
    time.sleep(3600)
if act == "leave":
    child = subprocess.Popen(["sleep", "3600"])
    open(sys.argv[2], "w").write(f"{os.getpid()} {child.pid}")
"""
BIG = Gpu(0, "Small GPU", 16.0, 15.0), Gpu(1, "Large GPU", 80.0, 79.0)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "sample_worker.py").write_text(WORKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    return "sample_worker"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "gpus", tuple)


def run_of(tmp_path: Path, module: str, *arguments: str, **more: Any) -> tuple[LocalRun, list[str]]:
    lines: list[str] = []
    settings = AcceleratorSettings(
        place="local", leases=tmp_path / "leases", cpu_slots=2, wait_seconds=0.2, prices={"cpu": 3.6}
    )
    needs = more.pop("needs", AcceleratorSpec())
    return LocalRun(module, arguments, needs, settings, "search 0", line=lines.append, **more), lines


def gone(pid: int) -> bool:
    def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    return until(ended, f"the end of process {pid}")


def pids(file: Path) -> list[int]:
    until(lambda: file.exists() and len(file.read_text().split()) == 2, f"{file.name} written")
    return [int(pid) for pid in file.read_text().split()]


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_a_cpu_slot_is_leased_and_the_log_says_so(
    tmp_path: Path, module: str, caplog: pytest.LogCaptureFixture
) -> None:
    run, lines = run_of(tmp_path, module, "burn")
    with caplog.at_level("INFO"):
        used = run.run()
    assert "leased CPU slot 0 of 2: this machine has no GPU" in caplog.text
    assert lines[0] == "cuda "
    assert (used.device, used.gpu_seconds, used.peak_vram_gb) == ("cpu", 0.0, None)
    assert 0.3 <= used.cpu_seconds <= used.seconds + 0.2
    assert used.cost_usd == pytest.approx(used.seconds * 0.001)


@pytest.mark.usefixtures("no_gpu")
def test_the_lease_is_held_while_the_worker_runs_and_free_afterwards(tmp_path: Path, module: str) -> None:
    run, lines = run_of(tmp_path, module, "burn")
    run.run()
    claim = lines[1].removeprefix("lease ")
    lease.check(claim)
    with lease.acquire(tmp_path / "leases", [Slot("cpu", 0)], "next"), pytest.raises(Exception, match="next"):
        lease.check(claim)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("act", "shown"), [("fail", "exit code 3: .*no such column"), ("raise", "ValueError: bad")])
def test_a_failed_worker_is_an_error_with_its_last_lines(tmp_path: Path, module: str, act: str, shown: str) -> None:
    run, _ = run_of(tmp_path, module, act)
    with pytest.raises(AcceleratorError, match=shown):
        run.run()


@pytest.mark.usefixtures("no_gpu")
def test_a_stop_kills_the_whole_group(tmp_path: Path, module: str) -> None:
    run, _ = run_of(tmp_path, module, "hang", str(tmp_path / "pids"))

    def stop() -> None:
        pids(tmp_path / "pids")
        run.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(AcceleratorError, match="was stopped"):
        run.run()
    stopper.join()
    assert all(gone(pid) for pid in pids(tmp_path / "pids"))


@pytest.mark.usefixtures("no_gpu")
def test_what_a_finished_worker_left_behind_is_killed(tmp_path: Path, module: str) -> None:
    run, _ = run_of(tmp_path, module, "leave", str(tmp_path / "pids"))
    run.run()
    assert all(gone(pid) for pid in pids(tmp_path / "pids"))


@pytest.mark.usefixtures("no_gpu")
def test_kill_of_the_task_ends_the_worker_and_frees_the_slot(tmp_path: Path, module: str) -> None:
    run, _ = run_of(tmp_path, module, "hang", str(tmp_path / "pids"))
    task = multiprocessing.get_context("fork").Process(target=run.run)
    task.start()
    worker, _ = pids(tmp_path / "pids")
    assert task.pid is not None
    os.kill(task.pid, signal.SIGKILL)
    task.join()
    assert gone(worker)
    with lease.acquire(tmp_path / "leases", [Slot("cpu", 0)], "next", wait_seconds=HANGS_AFTER_S):
        pass


def test_a_gpu_s_worker_sees_that_gpu_only_and_starts_in_a_fresh_process(
    tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: BIG)
    monkeypatch.setattr(local, "GpuSampler", lambda index: _Sampled(index))
    run, lines = run_of(tmp_path, module, "burn", needs=AcceleratorSpec(vram_gb=40))
    used = run.run()
    assert lines[0] == "cuda 1"
    assert (used.device, used.peak_vram_gb, used.utilisation) == ("Large GPU", 12.5, 0.9)
    assert used.gpu_seconds == used.seconds
    assert used.cost_usd is None  # no price for this GPU


class _Sampled:
    peak_vram_gb, utilisation = 12.5, 0.9

    def __init__(self, index: int | None) -> None:
        assert index == 1

    def __enter__(self) -> _Sampled:
        return self

    def __exit__(self, *_: object) -> None:
        return


@pytest.mark.parametrize(
    ("gpus", "needs", "message"),
    [
        (BIG, AcceleratorSpec(vram_gb=100), r"vram_gb is 100 and no GPU here has that much \(GPU 0 Small GPU"),
        ((), AcceleratorSpec(gpu="required"), "a GPU is required and this machine has none"),
        ((Gpu(0, "Busy", 80.0, 3.0),), AcceleratorSpec(vram_gb=40), "no GPU has that much free .*without a lease"),
    ],
)
def test_a_need_that_cannot_be_met_is_a_clear_error(
    tmp_path: Path, gpus: tuple[Gpu, ...], needs: AcceleratorSpec, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: gpus)
    monkeypatch.setattr(local, "_SETTLE_SECONDS", 0.0)
    run, lines = run_of(tmp_path, "never", needs=needs)
    with pytest.raises(AcceleratorError, match=message):
        run.run()
    assert lines == []


def test_a_spec_without_gpu_leaves_the_gpus_alone(tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: BIG)
    run, lines = run_of(tmp_path, module, "burn", needs=AcceleratorSpec(gpu="none"))
    assert run.run().device == "cpu"
    assert lines[0] == "cuda "


class _Closing(io.StringIO):
    """Standard error that closes its descriptor when a worker's process drops it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor, self._process = descriptor, os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self._process:
            os.close(self._descriptor)


def test_a_forked_worker_has_the_libraries_of_its_task_and_nothing_else_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "warm_worker.py").write_text(
        "import logging, os, signal, sys\n"
        "print('preloaded' in sys.modules, __name__, sys.argv[1:], dict(os.environ))\n"
        "print(logging.root.handlers, signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "preloaded", threading)
    # as a task has them: objects that close what they write to
    monkeypatch.setattr(sys, "stdout", _Closing(1))
    monkeypatch.setattr(sys, "stderr", _Closing(2))
    lines: list[str] = []
    with (tmp_path / "lease").open("w") as lease_file:
        worker = process.start("warm_worker", ["-x"], {"A": "1"}, lease_file.fileno(), warm=True)
        ended = worker.follow(lines.append)
    assert ended.code == 0
    assert lines == ["True __main__ ['-x'] {'A': '1'}", "[] True"]


def test_a_process_with_threads_does_not_fork_its_worker() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert not process.may_fork()
    finally:
        done.set()
        thread.join()


@pytest.mark.gpu
@pytest.mark.skipif(not hardware.gpus(), reason="no NVIDIA GPU on this machine")
def test_a_real_gpu_is_leased_used_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cuda_worker.py").write_text(
        "import time, torch\n"
        "x = torch.ones(2**28, device='cuda')\n"
        "end = time.time() + 4\n"
        "while time.time() < end: x.mul_(1.0); torch.cuda.synchronize()\n"
        "print('devices', torch.cuda.device_count())\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    run, lines = run_of(tmp_path, "cuda_worker", needs=AcceleratorSpec(gpu="required", vram_gb=2))
    used = run.run()
    assert lines[-1] == "devices 1"
    assert used.peak_vram_gb is not None
    assert used.utilisation is not None
    assert used.peak_vram_gb >= 1.0
    assert used.utilisation > 0.1
    assert used.gpu_seconds >= 4
