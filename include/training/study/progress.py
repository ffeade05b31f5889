"""The state of a study as a value, in a module that imports no library."""

from __future__ import annotations

from include.core.handover import Handover


class Progress(Handover):
    """The state of a study.

    ``total`` is the budget; ``done``, ``pruned`` and ``failed`` count settled slots, ``running`` those
    that run now; ``lost`` counts attempts that ended with their worker, ``resumed`` those that went on
    from a checkpoint. ``exhausted`` says which time budget is used up. ``best_*`` are None until a trial
    is done.
    """

    study: str
    metric: str
    total: int
    done: int
    pruned: int
    failed: int
    running: int
    lost: int
    best_value: float | None
    best_trial: int | None
    best_family: str | None
    resumed: int = 0
    exhausted: str | None = None

    @property
    def finished(self) -> bool:
        """Return whether the whole budget is settled, or no time is left and no trial runs."""
        settled = self.done + self.pruned + self.failed
        return settled >= self.total or (self.exhausted is not None and not self.running)

    def __str__(self) -> str:
        settled = self.done + self.pruned + self.failed
        best = "" if self.best_value is None else (
            f", best {self.metric} {self.best_value:.5f} (trial {self.best_trial}, {self.best_family})"
        )  # fmt: skip
        return (
            f"{self.study}: {settled}/{self.total} trials ({self.done} done, {self.pruned} pruned, "
            f"{self.failed} failed), {self.running} running, {self.resumed} resumed{best}"
            + (f"; {self.exhausted}" if self.exhausted else "")
        )
