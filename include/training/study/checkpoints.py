"""Checkpoints of trials, from which a retry goes on.

A checkpoint is a folder that appears whole or not at all: ``<root>/<study>/slot-0003/trial-0007/step-05``
holds ``state.json`` and the family's own files, none of them pickled. It belongs to one slot with one set of
parameters; other checkpoints there are left alone, and the trial begins at the start. Every attempt writes
to a folder of its own, so that a worker that was given up but still runs disturbs no other.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_STATE = "state.json"
_log = logging.getLogger(__name__)


class SlotCheckpoints:
    """The checkpoints of one slot of a study.

    Attributes:
        history: steps and values that were reported up to the checkpoint, once :meth:`resume` found one.
        resumed: the step of that checkpoint; None when the trial began at the start.
    """

    def __init__(
        self,
        folder: Path,
        trial: int,
        identity: Mapping[str, Any],
        every_seconds: float = 0.0,
        allowed: Callable[[], None] = lambda: None,
    ) -> None:
        """Open a slot; ``trial`` is this attempt's number, ``allowed`` raises when the worker may no longer write."""
        # compared with values read from JSON, so it goes through JSON too
        self._slot, self._mine = folder, folder / f"trial-{trial:04d}"
        self._identity = json.loads(json.dumps(identity, sort_keys=True))
        self._every, self._allowed = every_seconds, allowed
        self._last = time.monotonic()
        self.history: list[tuple[int, float]] = []
        self.resumed: int | None = None

    def reported(self, step: int, value: float) -> None:
        """Remember what the trial reported; it becomes part of the next checkpoint."""
        self.history.append((step, value))

    def resume(self) -> Path | None:
        """Return the newest checkpoint of the same slot with the same parameters, of any attempt."""
        for found in sorted(self._slot.glob("trial-*/step-*"), key=lambda path: path.name, reverse=True):
            try:
                state = json.loads((found / _STATE).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                _log.warning("checkpoint %s cannot be read (%s); ignored", found, error)
                continue
            if state["identity"] == self._identity:
                self.history = [(int(step), float(value)) for step, value in state["history"]]
                self.resumed = int(state["step"])
                return found
        return None

    def keep(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep the state after ``step``, unless the last checkpoint is younger than ``every_seconds``."""
        if time.monotonic() - self._last < self._every:
            return
        self._allowed()
        place = self._mine / f"step-{step:02d}"
        written = self._mine / f".{place.name}-{uuid.uuid4().hex[:8]}"
        written.mkdir(parents=True)
        write(written)
        state = {"identity": self._identity, "step": step, "history": self.history}
        (written / _STATE).write_text(json.dumps(state), encoding="utf-8")
        written.rename(place)
        # keep the previous one: another worker may be reading it
        for older in sorted(self._mine.glob("step-*"))[:-2]:
            shutil.rmtree(older, ignore_errors=True)
        self._last = time.monotonic()

    def clear(self) -> None:
        """Remove the checkpoints of a settled slot."""
        shutil.rmtree(self._slot, ignore_errors=True)


def slot_folder(root: Path, study: str, slot: int) -> Path:
    """Return the folder of one slot's checkpoints."""
    return root / study / f"slot-{slot:04d}"
