"""Kills at random: which kinds of processes a stack has, and a seeded order in which one after the other dies."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from include.stack.processes import members
from include.stack.stack import Stack

SERVICES = ("scheduler", "dag-processor", "api-server", "triggerer", "mlflow", "postgres")
TASK, SUPERVISOR = "task", "task supervisor"
# tasks and their supervisors are most of the processes; a service that dies takes all of its tasks with it
WEIGHTS = {TASK: 6, SUPERVISOR: 3, **dict.fromkeys(SERVICES, 1)}


@dataclass
class Killer:
    """Kills processes of one stack; the seed decides the kinds and the pauses, the moment decides the process."""

    stack: Stack
    seed: int
    mean_pause_s: float
    say: Callable[[str], None]
    killed: Counter[str] = field(default_factory=Counter)
    sessions: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._next = time.monotonic()

    def step(self) -> None:
        """Kill one process if the next kill is due."""
        # of every service that ever ran, to look for what it has left behind
        self.sessions |= {one.pid for service in self.stack.services if (one := service.daemon.process())}
        if time.monotonic() < self._next:
            return
        kind = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        place = self._random.random()
        self._next = time.monotonic() + self._random.uniform(0.5, 1.5) * self.mean_pause_s
        found = sorted(_candidates(self.stack, kind), key=lambda process: process.pid)
        if not found:
            self.say(f"no {kind} runs now")
            return
        victim = found[int(place * len(found))]
        with suppress(psutil.Error):
            title = " ".join(victim.cmdline())[:90]
            victim.kill()
            self.killed[kind] += 1
            self.say(f"kill -9 {kind} {victim.pid} ({title})")


def _candidates(stack: Stack, kind: str) -> list[psutil.Process]:
    if kind in (TASK, SUPERVISOR):
        return list(_of_scheduler(stack, kind))
    pids = {part.name: part.pid for part in stack.status()}
    pid = pids.get(kind)
    with suppress(psutil.NoSuchProcess):
        return [psutil.Process(pid)] if pid else []
    return []


def _of_scheduler(stack: Stack, kind: str) -> Iterator[psutil.Process]:
    """Yield this stack's running tasks, or the processes of the executor that supervise one.

    They are known by their session, which is the scheduler's: their titles have overwritten their environment.
    """
    (scheduler,) = (service.daemon for service in stack.services if service.name == "scheduler")
    leader = scheduler.process()
    if leader is None:
        return
    executor = "airflow worker -- LocalExecutor:"
    for process in members(leader):
        with suppress(psutil.Error):
            title = " ".join(process.cmdline()).strip()
            if not title.startswith("airflow worker -- ") or title.endswith("<idle>"):
                continue
            if title.startswith(executor) == (kind == SUPERVISOR):
                yield process
