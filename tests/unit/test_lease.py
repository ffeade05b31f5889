"""Leases: exclusive, freed by death, fenced by tokens."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from include.accelerators import lease
from include.accelerators.lease import Slot
from include.core.errors import AcceleratorError, LeaseLost
from tests.waiting import HANGS_AFTER_S, until

pytestmark = pytest.mark.fault

_FORK = multiprocessing.get_context("fork")
GPU = Slot("gpu", 0)


def hold(folder: Path, held: Path) -> None:
    taken = lease.acquire(folder, [GPU], "holder")
    held.write_text(taken.claim)
    signal.pause()


def use(folder: Path, log: Path, number: int) -> None:
    slots = [Slot("gpu", 0), Slot("gpu", 1)]
    with (
        lease.acquire(folder, slots, f"task {number}", wait_seconds=HANGS_AFTER_S) as held,
        log.open("a", buffering=1) as file,
    ):
        file.write(f"{held.slot} enter {number}\n")
        # room for another task to enter, if the lease let it
        time.sleep(0.02)
        file.write(f"{held.slot} leave {number}\n")


def wait_for(file: Path) -> None:
    until(lambda: file.exists() and file.read_text(), f"{file.name} written")


def test_a_taken_slot_is_refused_by_its_holders_name(tmp_path: Path) -> None:
    with lease.acquire(tmp_path, [GPU], "flights_train search 0"), pytest.raises(AcceleratorError, match="search 0"):
        lease.acquire(tmp_path, [GPU], "other")


def test_the_first_free_slot_is_taken(tmp_path: Path) -> None:
    with lease.acquire(tmp_path, [GPU], "a"), lease.acquire(tmp_path, [GPU, Slot("gpu", 1)], "b") as second:
        assert second.slot == Slot("gpu", 1)


def test_a_released_slot_is_free_again_with_a_new_token(tmp_path: Path) -> None:
    with lease.acquire(tmp_path, [GPU], "a") as first:
        token = first.token
    with lease.acquire(tmp_path, [GPU], "b") as second:
        assert (token.split("-")[0], second.token.split("-")[0]) == ("1", "2")


def test_kill_of_the_holder_frees_the_lease(tmp_path: Path) -> None:
    holder = _FORK.Process(target=hold, args=(tmp_path, tmp_path / "held"), daemon=True)
    holder.start()
    wait_for(tmp_path / "held")
    with pytest.raises(AcceleratorError):
        lease.acquire(tmp_path, [GPU], "next")
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with lease.acquire(tmp_path, [GPU], "next") as held:
        assert held.slot == GPU


def test_eighteen_tasks_on_two_leases_never_overlap(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tasks = [_FORK.Process(target=use, args=(tmp_path / "leases", log, number)) for number in range(18)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join(HANGS_AFTER_S)
    assert [task.exitcode for task in tasks] == [0] * 18
    inside: dict[str, str] = {}
    for line in log.read_text().splitlines():
        slot, act, number = line.split()
        assert inside.get(slot) == (None if act == "enter" else number)
        inside[slot] = number
        if act == "leave":
            del inside[slot]
    assert inside == {}


def test_a_revived_holder_with_an_old_token_is_refused(tmp_path: Path) -> None:
    old = _FORK.Process(target=hold, args=(tmp_path, tmp_path / "held"), daemon=True)
    old.start()
    wait_for(tmp_path / "held")
    assert old.pid is not None
    os.kill(old.pid, signal.SIGSTOP)
    claim = (tmp_path / "held").read_text()
    lease.check(claim)
    lease.revoke(tmp_path, GPU)
    try:
        with lease.acquire(tmp_path, [GPU], "new holder") as new:
            lease.check(new.claim)
            os.kill(old.pid, signal.SIGCONT)
            with pytest.raises(LeaseLost, match="new holder"):
                lease.check(claim)
    finally:
        old.kill()
        old.join()


def test_a_lease_that_was_taken_away_is_lost_before_anyone_else_has_it(tmp_path: Path) -> None:
    with lease.acquire(tmp_path, [GPU], "a") as held:
        lease.revoke(tmp_path, GPU)
        with pytest.raises(LeaseLost, match="taken away"):
            lease.check(held.claim)


def test_a_deleted_lease_file_brings_no_old_token_back(tmp_path: Path) -> None:
    with lease.acquire(tmp_path, [GPU], "a") as old:
        old.file.unlink()
        with lease.acquire(tmp_path, [GPU], "b") as new:
            assert new.token != old.token
            with pytest.raises(LeaseLost):
                lease.check(old.claim)


def test_a_guard_without_a_claim_lets_everything_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(lease.CLAIM, raising=False)
    lease.guard()()


def test_a_guard_reads_its_claim_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease.acquire(tmp_path, [GPU], "a") as held:
        monkeypatch.setenv(lease.CLAIM, held.claim)
        may_write = lease.guard()
        may_write()
        lease.revoke(tmp_path, GPU)
        with pytest.raises(LeaseLost):
            may_write()


def test_the_command_lists_slots_and_takes_one_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lease.acquire(tmp_path, [Slot("cpu", 2)], "earlier").release()
    with lease.acquire(tmp_path, [GPU], "hung search") as held:
        where = ["--folder", str(tmp_path)]
        assert lease.main([*where, "list"]) == 0
        listed = capsys.readouterr().out
        assert "cpu-2 free, earlier" in listed
        assert f"gpu-0 taken, hung search, process {os.getpid()}" in listed
        assert lease.main([*where, "revoke", "--slot", "gpu-0"]) == 0
        assert "taken away: gpu-0 taken, hung search" in capsys.readouterr().out
        with pytest.raises(LeaseLost):
            lease.check(held.claim)
        lease.acquire(tmp_path, [GPU], "next").release()


@pytest.mark.parametrize("slot", ["gpu-9", "gpu", "tpu-0"])
def test_the_command_refuses_a_slot_that_is_none(slot: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lease.main(["--folder", str(tmp_path), "revoke", "--slot", slot]) == 1
    assert f"holds no lease of {slot}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
