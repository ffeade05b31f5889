"""Leases: one file for each GPU or CPU slot, locked by its holder.

The kernel frees a lock when the last process that has the file open is gone, so a lease needs neither a clock nor
a clean-up. Each lease has a token of its own, written into the file when the lease is taken. A holder that lost its
lease, for example because :func:`revoke` took the slot away while the holder hung, still shows the old token, and
:func:`check` refuses its writes.

This is ``fcntl.flock`` and not filelock, for three reasons: worker processes inherit the open file and with it the
lock, the token is written through the locked descriptor, and the inode is compared after locking, because
:func:`revoke` replaces the file. filelock keeps its descriptor to itself.

A hung holder's slot is taken back by ``python -m include.accelerators.lease revoke --slot gpu-0``.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from include.core.errors import AcceleratorError, LeaseLost

CLAIM = "LIFECYCLE_LEASE"
"""Environment variable in which a worker finds the claim that its writes are checked by."""

_SIZE = 512  # of a lease file: written in one piece, so that no reader meets half of it
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot:
    """A thing that can be leased: GPU ``index``, or the ``index``-th CPU slot."""

    kind: Literal["gpu", "cpu"]
    index: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.index}"


@dataclass
class Lease:
    """A slot that is ours until it is released or the last process with ``descriptor`` is gone.

    Attributes:
        token: counts the leases of the slot, followed by a word that no other lease has.
        descriptor: open file that carries the lock; a child that inherits it keeps the slot taken.
    """

    slot: Slot
    file: Path
    token: str
    descriptor: int

    @property
    def claim(self) -> str:
        """What a worker shows before it writes."""
        return f"{self.file}@{self.token}"

    def release(self) -> None:
        """Give the slot back; a second call does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def acquire(folder: Path, slots: Sequence[Slot], holder: str, wait_seconds: float = 0.0) -> Lease:
    """Lease the first free one of ``slots``, waiting for one if need be.

    Raises:
        AcceleratorError: none became free in time; names who holds them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    told = False
    while True:
        for slot in slots:
            lease = _try(folder, slot, holder)
            if lease is not None:
                return lease
        if time.monotonic() >= deadline:
            raise AcceleratorError(
                f"no free slot within {wait_seconds:.0f} s: {holders(folder, slots)}; wait for them, or make the "
                "Airflow pool `gpu` no larger than the number of slots"
            )
        if not told:
            _log.info("waiting for a slot: %s", holders(folder, slots))
            told = True
        time.sleep(0.1)


def check(claim: str) -> None:
    """Do nothing if ``claim`` still holds its slot.

    Call it under the lock of what is written, immediately before the write.

    Raises:
        LeaseLost: the slot has been leased to another or taken away since.
    """
    file, _, token = claim.rpartition("@")
    found = _read(Path(file))
    if found.get("token") != token:
        raise LeaseLost(
            f"{Path(file).stem} is no longer leased to this worker (its lease {token}, now "
            f"{found.get('token', 'none')} of {found.get('holder', 'nobody')}); nothing was written, stop this worker"
        )


def guard(claim: str | None = None) -> Callable[[], None]:
    """A check to call before each write: of ``claim``, of the environment's, or one that always passes."""
    given = claim or os.environ.get(CLAIM)
    return (lambda: check(given)) if given else (lambda: None)


def revoke(folder: Path, slot: Slot) -> None:
    """Take a slot away from a hung holder: others may lease the slot, and the old holder's writes are refused.

    The holder's process goes on and keeps its GPU memory until somebody ends it.
    """
    file = _file(folder, slot)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as fresh:
        fresh.write(_written(_next_token(_read(file)), "nobody: taken away"))
    Path(fresh.name).replace(file)


def holders(folder: Path, slots: Sequence[Slot]) -> str:
    """Who holds or last held each slot, for people."""
    return ", ".join(f"{slot} by {_read(_file(folder, slot)).get('holder', 'nobody')}" for slot in slots)


def _try(folder: Path, slot: Slot, holder: str) -> Lease | None:
    file = _file(folder, slot)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # a file that was replaced in between is locked by nobody who looks at its name
        if os.fstat(descriptor).st_ino != file.stat().st_ino:
            raise BlockingIOError
        token = _next_token(_read(file))
        os.pwrite(descriptor, _written(token, f"{holder}, process {os.getpid()}"), 0)
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return Lease(slot, file, token, descriptor)


def _file(folder: Path, slot: Slot) -> Path:
    return folder / f"{slot}.lease"


def _next_token(found: dict[str, Any]) -> str:
    count = int(str(found.get("token", "0")).split("-")[0])
    # the word keeps tokens apart even when a deleted file lets the count begin again
    return f"{count + 1}-{uuid.uuid4().hex[:12]}"


def _written(token: str, holder: str) -> bytes:
    return json.dumps({"token": token, "holder": holder[:300]}).encode().ljust(_SIZE - 1)[: _SIZE - 1] + b"\n"


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes() or b"{}")
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def slots_in(folder: Path) -> dict[str, Slot]:
    """Return the slots that were ever leased in ``folder``, by their names."""
    slots = {}
    for file in sorted(folder.glob("?pu-*.lease")):
        kind, _, index = file.stem.partition("-")
        slots[file.stem] = Slot("gpu" if kind == "gpu" else "cpu", int(index))
    return slots


def main(argv: Sequence[str] | None = None) -> int:
    """List the leases of this machine, or take one away; returns the exit code."""
    # read here: a worker that only checks its lease needs no settings
    from include.accelerators.settings import AcceleratorSettings

    parser = argparse.ArgumentParser(
        prog="python -m include.accelerators.lease", description="Leases of this machine's GPUs and CPU slots."
    )
    parser.add_argument("--folder", type=Path, help="folder of the lease files (default: $LIFECYCLE_LEASES)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show who holds or last held each slot, and whether it is taken now")
    take = commands.add_parser("revoke", help="take a slot away from a hung holder; its later writes are refused")
    take.add_argument("--slot", required=True, help="slot as `list` names it, such as gpu-0")
    options = parser.parse_args(argv)
    folder = options.folder or AcceleratorSettings.from_environ().leases
    known = slots_in(folder)
    if options.command == "list":
        print("\n".join(_described(folder, slot) for slot in known.values()) or f"{folder} holds no lease")
        return 0
    slot = known.get(options.slot)
    if slot is None:
        print(f"error: {folder} holds no lease of {options.slot}; `list` shows those it holds", file=sys.stderr)
        return 1
    print(f"taken away: {_described(folder, slot)}")
    revoke(folder, slot)
    return 0


def _described(folder: Path, slot: Slot) -> str:
    with _file(folder, slot).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            state = "taken"
        else:
            state = "free"
    return f"{slot} {state}, {holders(folder, [slot]).partition(' by ')[2]}"


if __name__ == "__main__":
    raise SystemExit(main())
