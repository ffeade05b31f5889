"""Everything of Optuna that we use although Optuna does not document it.

``tests/unit/test_study_optuna_private.py`` names the version of Optuna that this was checked against, and checks
each name here. After an upgrade, run it and compare what failed with Optuna's source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

_FIXED = "fixed_params"


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """Return the key by which a storage knows the trial; ``number`` counts within one study only."""
    return int(trial._trial_id)


def stale_trial_ids(storage: RDBStorage, study_id: int) -> set[int]:
    """Return the running trials whose heartbeat is older than the grace period, and leave them running.

    The public ``optuna.storages.fail_stale_trials`` would also fail them.
    """
    return set(storage._get_stale_trial_ids(study_id))


def fixing(params: dict[str, Any]) -> dict[str, Any] | None:
    """Return the system attributes of a queued trial that proposes ``params``, as ``Study.enqueue_trial`` sets them.

    ``enqueue_trial`` cannot set a trial's user attributes before another worker sees the trial.
    """
    return {_FIXED: params} if params else None


def fixed_params(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters that were fixed when the trial was queued."""
    return dict(trial.system_attrs.get(_FIXED, {}))


def tables_are_complete(engine: sa.Engine) -> bool:
    """Return whether the installed release of Optuna has made all of its tables."""
    with engine.connect() as connection:
        tables = sa.inspect(connection)
        if not (tables.has_table("version_info") and tables.has_table("alembic_version")):
            return False
        made_by = connection.execute(sa.text("select library_version from version_info")).scalar()
        # Optuna writes the migration's number last
        migrations = connection.execute(sa.text("select count(*) from alembic_version")).scalar_one()
    return bool(migrations) and made_by == optuna.__version__


class StudyOfSome:
    """A study that shows samplers and pruners only the trials for which ``belongs`` is true.

    Samplers read ``Study._get_trials``, which caches; pruners read ``Study.get_trials``.
    """

    def __init__(self, study: optuna.Study, belongs: Callable[[FrozenTrial], bool]) -> None:
        self._study, self._belongs = study, belongs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True, states: Sequence[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the study's trials that belong."""
        return self._some(self._study.get_trials(deepcopy, states))

    def _get_trials(
        self, deepcopy: bool = True, states: Sequence[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return self._some(self._study._get_trials(deepcopy, states, use_cache))

    def _some(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        return [trial for trial in trials if self._belongs(trial)]
