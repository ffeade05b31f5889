"""Chaos run: a backfill under random kills must leave the lake that an undisturbed backfill leaves.

``make chaos MINUTES=20 SEED=1`` starts a stack of its own, bootstraps, trains and promotes. Then it backfills days, ten
at a time, and kills tasks, supervisors and services at random until the minutes are over. Afterwards it does what a
person would do, and counts it: start the stack, clear failed DAG runs, backfill days that no DAG run has. At the end
the same days are computed without any kill in a copy of the lake, and both lakes are compared partition for partition.

The seed decides the kinds of kills and the pauses. Which process is hit depends on the moment, so two runs with one
seed are alike, not equal.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from include.core import partitions
from include.core.errors import LifecycleError
from include.core.partitions import Span
from include.lake.records import Attempt
from include.stack.api import FINISHED, ApiError, Json
from include.stack.failures import explain_failure
from include.steps import features, ingest, monitor, publishing, verify
from include.steps.handover import Stages
from include.steps.score import predicting
from include.steps.workspace import Workspace
from tests.e2e.deployment import CASE, CHAIN, Deployment, clean_environ, dag, own_stack
from tests.faults.killing import WEIGHTS, Killer

FIRST, LAST = "2013-01-01", "2013-02-09"
END_OF_HISTORY = "2013-12-30"
# longer than the timeout of a heartbeat, and than any task of this small use case
STUCK_AFTER_S = 240.0
GIVE_UP_AFTER_S = 1800.0
_POLL_S = 1.0

Pair = tuple[str, str]


@dataclass
class Chaos:
    """One chaos run and what a person had to do in it."""

    deployment: Deployment
    killer: Killer
    days: int = 10
    began: float = field(default_factory=time.monotonic)
    keys: list[str] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    started_by_hand: list[str] = field(default_factory=list)
    restarted_by_hand: int = 0

    def say(self, text: str) -> None:
        """Print a line of progress with the seconds since the beginning."""
        print(f"{time.monotonic() - self.began:7.0f} s  {text}", flush=True)

    def backfill_under_kills(self, until: float) -> None:
        """Backfill some days after the other, with kills, until the instant ``until`` of the monotonic clock."""
        while time.monotonic() < until:
            first = partitions.shift(self.keys[-1] if self.keys else LAST, 1)
            batch = partitions.key_range(first, partitions.shift(first, self.days - 1))
            if batch[-1] > END_OF_HISTORY:
                self.say("history ends here")
                return
            self._create_backfill("ingest", batch)
            self.keys += batch
            while time.monotonic() < until and not self._ended([("ingest", key) for key in batch]):
                self.killer.step()
                time.sleep(_POLL_S)

    def settle(self) -> bool:
        """Do as a person would until each step has succeeded for each day; tell whether it came to that."""
        self.say("no more kills: make up")
        self.deployment.stack.up()
        wanted = [(step, key) for step in CHAIN for key in self.keys]
        before, changed, deadline = "", time.monotonic(), time.monotonic() + GIVE_UP_AFTER_S
        while time.monotonic() < deadline:
            runs = self._runs()
            left = [pair for pair in wanted if _state(runs, pair) != "success"]
            if not left:
                return True
            for pair in left:
                if _state(runs, pair) == "failed":
                    self._clear(runs[pair])
            if (now := self._progress(runs)) != before:
                before, changed = now, time.monotonic()
                self.say(f"{len(wanted) - len(left)} of {len(wanted)} DAG runs have succeeded")
            elif all(run["state"] in FINISHED for run in runs.values()) and time.monotonic() - changed > 30:
                self._start_missing(runs, left)
                changed = time.monotonic()
            elif time.monotonic() - changed > STUCK_AFTER_S:
                self.say(f"nothing moves: {before}; make down, make up")
                self.restarted_by_hand += 1
                self.deployment.stack.down()
                self.deployment.stack.up()
                changed = time.monotonic()
            time.sleep(_POLL_S)
        self.say(f"not finished: {left}")
        return False

    def _runs(self) -> dict[Pair, Json]:
        """Return the newest DAG run of each step and day."""
        found: dict[Pair, Json] = {}
        for step in CHAIN:
            for run in self.deployment.api.runs(dag(step)):
                if run["partition_key"] in self.keys:
                    found.setdefault((step, str(run["partition_key"])), run)
        return found

    def _ended(self, pairs: Iterable[Pair]) -> bool:
        try:
            runs = self._runs()
            return all(_state(runs, pair) in FINISHED for pair in pairs)
        except LifecycleError:
            # the API server, or its database, was killed
            return False

    def _progress(self, runs: dict[Pair, Json]) -> str:
        """Describe the tasks of all active DAG runs; equal texts mean that nothing has moved."""
        active = [run for run in runs.values() if run["state"] not in FINISHED]
        tasks = [
            f"{task['dag_id']}.{task['task_id']} {run['partition_key']} {task['state']} {task['try_number']}"
            for run in active
            for task in self.deployment.api.task_instances(str(run["dag_id"]), str(run["dag_run_id"]))
            if task["state"] not in ("success", "skipped")
        ]
        return f"{len(runs)} DAG runs; {'; '.join(sorted(tasks))}"

    def _clear(self, run: Json) -> None:
        api = self.deployment.api
        failed = [task for task in api.task_instances(run["dag_id"], run["dag_run_id"]) if task["state"] == "failed"]
        names = ", ".join(f"{task['task_id']} (try {task['try_number']})" for task in failed)
        self.say(f"failed: {run['dag_id']} {run['partition_key']} {names}; clear it")
        print(explain_failure(api, self.deployment.layout, run), flush=True)
        api.clear(str(run["dag_id"]), str(run["dag_run_id"]))
        self.cleared.append(f"{run['dag_id']} {run['partition_key']}: {names}")

    def _start_missing(self, runs: dict[Pair, Json], left: Sequence[Pair]) -> None:
        for step in CHAIN:
            missing = [key for one, key in left if one == step and (step, key) not in runs]
            if missing:
                self.say(f"no DAG run of {step} for {', '.join(missing)}; backfill them")
                self.started_by_hand += [f"{step} {key}" for key in missing]
                for key in missing:
                    self._create_backfill(step, (key,))
                return

    def _create_backfill(self, step: str, keys: Sequence[str]) -> None:
        """Create a backfill once the last one of the DAG is complete and the stack answers."""
        deadline = time.monotonic() + GIVE_UP_AFTER_S
        while True:
            try:
                if all(one["completed_at"] for one in self.deployment.api.backfills(dag(step))):
                    self.deployment.backfill(step, keys, "--max-active-runs", "4")
                    self.say(f"backfill of {step} {keys[0]}..{keys[-1]} created")
                    return
            except LifecycleError as error:
                if time.monotonic() > deadline:
                    raise
                self.say(f"not created yet: {str(error).splitlines()[-1][:120]}")
            time.sleep(_POLL_S)


def _state(runs: dict[Pair, Json], pair: Pair) -> str:
    return str(runs[pair]["state"]) if pair in runs else "missing"


# ---- the undisturbed lake -----------------------------------------------------------------------------------------


def compute_undisturbed(workspace: Workspace, span: Span) -> None:
    """Do the work of the chain for ``span`` by plain calls, one step after the other."""

    def publish(step: str, stages: Stages) -> None:
        attempt = Attempt(CASE, dag(step), "undisturbed")
        publishing.audit(workspace, stages, attempt)
        publishing.publish(workspace, stages, attempt)

    def by(step: str) -> Attempt:
        return Attempt(CASE, dag(step), "undisturbed")

    publish("ingest", ingest.land(workspace, span, by("ingest")))
    publish("features", features.stage(workspace, span, by("features")))
    publish("score", predicting.stage(workspace, span, predicting.AS_OF_CLOCK, by("score")))
    publish("monitor", monitor.stage(workspace, span, by("monitor")))


@dataclass(frozen=True)
class Comparison:
    """Two lakes, compared partition for partition by fingerprint.

    Attributes:
        backfilled: number of partitions of the days that were backfilled under kills.
        unchanged: number of partitions that lay there before the kills and are the same in both.
        different: table, key and fingerprints of each partition that differs, of whichever day.
    """

    backfilled: int
    unchanged: int
    different: list[str]

    def __str__(self) -> str:
        return (
            f"{self.backfilled} partitions of the backfilled days compared "
            f"({self.unchanged} older ones unchanged), {len(self.different)} differ"
        )


def compare(disturbed: Workspace, undisturbed: Workspace, days: Iterable[str]) -> Comparison:
    """Compare every partition of both lakes; ``days`` are those that were backfilled."""
    ours, theirs = (_fingerprints(one) for one in (disturbed, undisturbed))
    differing = [pair for pair in sorted(ours.keys() | theirs.keys()) if ours.get(pair) != theirs.get(pair)]
    new = {pair for pair in theirs if pair[1] in set(days)}
    return Comparison(
        len(new),
        len(theirs.keys() - new - set(differing)),
        [
            f"{' '.join(pair)}: {ours.get(pair, 'missing')[:12]}, undisturbed {theirs.get(pair, 'missing')[:12]}"
            for pair in differing
        ],
    )


def _fingerprints(workspace: Workspace) -> dict[Pair, str]:
    lake = workspace.lake
    return {
        (table, key): record.fingerprint for table in lake.tables(CASE) for key, record in lake.records(table).items()
    }


# ---- the run ------------------------------------------------------------------------------------------------------


def run(minutes: float, seed: int, mean_pause_s: float, days: int) -> int:
    """Run, print the result as a table, and return the exit status."""
    with clean_environ() as environ, own_stack(environ, "chaos-") as deployment:
        began = time.monotonic()
        killer = Killer(deployment.stack, seed, mean_pause_s, lambda text: chaos.say(text))
        chaos = Chaos(deployment, killer, days, began)
        chaos.say("bootstrap, train, promote")
        _prepare(deployment)
        copied = Path(deployment.layout.home, "undisturbed")
        shutil.copytree(deployment.workspace.settings.lake_root, copied, ignore=shutil.ignore_patterns("mlflow"))
        chaos.backfill_under_kills(time.monotonic() + minutes * 60)
        finished = chaos.settle()
        settings = deployment.workspace.settings
        undisturbed = Workspace(settings.model_copy(update={"lake_root": str(copied)}), deployment.workspace.case)
        chaos.say(f"compute {len(chaos.keys)} days undisturbed")
        compute_undisturbed(undisturbed, Span(first=chaos.keys[0], last=chaos.keys[-1]))
        chaos.say("compare")
        compared = compare(deployment.workspace, undisturbed, chaos.keys)
        verified = verify.verify(deployment.workspace)
        restarts = {part.name: part.restarts for part in deployment.stack.status() if part.restarts}
        deployment.stack.down()
        left = _of_sessions(killer.sessions)
    rows = {
        "kills": f"{killer.killed.total()}: " + ", ".join(f"{n} {kind}" for kind, n in killer.killed.most_common()),
        "never killed": ", ".join(kind for kind in WEIGHTS if not killer.killed[kind]) or "none",
        "restarts by the supervisor": ", ".join(f"{name} {count}" for name, count in restarts.items()) or "none",
        "days": f"{len(chaos.keys)} ({chaos.keys[0]}..{chaos.keys[-1]})",
        "DAG runs cleared by hand": f"{len(chaos.cleared)} {'; '.join(chaos.cleared)}",
        "DAG runs started by hand": f"{len(chaos.started_by_hand)} {', '.join(chaos.started_by_hand)}",
        "restarts of the stack by hand": str(chaos.restarted_by_hand),
        "all DAG runs succeeded": "yes" if finished else "NO",
        "comparison": str(compared),
        "partitions read again": f"{verified.partitions} with {verified.rows} rows, {len(verified.differences)} differ",
        "files of killed publishes": f"{len(verified.unnamed)}, read by nobody; maintenance deletes them",
        "processes left after make down": f"{len(left)} {'; '.join(left)}",
        "seconds": f"{time.monotonic() - began:.0f}",
    }
    for title, value in rows.items():
        print(f"{title:32} {value}")
    for line in [*compared.different, *map(str, verified.differences)]:
        print(line)
    if not killer.killed:
        print("nothing was killed, so the run shows nothing: give it more minutes, or a shorter pause")
    sound = finished and compared.backfilled and not compared.different and not verified.differences and not left
    return 0 if sound and killer.killed else 1


def _prepare(deployment: Deployment) -> None:
    since = datetime.now(UTC)
    deployment.run("bootstrap", {"from": FIRST, "to": LAST})
    deployment.run("train", {"trials": 4})

    def promoted() -> Json | None:
        runs = [run for run in deployment.api.runs(dag("promote")) if datetime.fromisoformat(run["queued_at"]) > since]
        return runs[0] if runs else None

    started = deployment.until(promoted, "a promotion started by the challenger")
    deployment.succeed("promote", str(started["dag_run_id"]))


def _of_sessions(sessions: set[int]) -> list[str]:
    """List what still runs of the sessions that services have begun."""
    found = []
    for pid in psutil.pids():
        with suppress(OSError, psutil.Error):
            if os.getsid(pid) in sessions and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(f"{pid} {' '.join(psutil.Process(pid).cmdline())[:80]}")
    return found


def _minutes(text: str) -> float:
    """Read a number of minutes in which something can be killed."""
    minutes = float(text)
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no time to kill in; give a number above 0, for example 20")
    return minutes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=_minutes, default=20, help="how long to kill")
    parser.add_argument("--seed", type=int, default=1, help="decides the kinds of kills and the pauses")
    parser.add_argument("--pause", type=float, default=15, help="mean seconds between two kills")
    parser.add_argument("--days", type=int, default=10, help="days of one backfill; the next begins when it has ended")
    asked = parser.parse_args(arguments)
    try:
        return run(asked.minutes, asked.seed, asked.pause, asked.days)
    except (ApiError, LifecycleError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
