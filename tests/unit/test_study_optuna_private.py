"""Undocumented parts of Optuna do what include/training/study/optuna_private.py uses them for."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from include.training.study import optuna_private
from include.training.study.storage import StudyStore, open_store

CHECKED = "5.0.0"


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    return open_store(f"sqlite:///{tmp_path / 'studies.db'}", heartbeat_seconds=1, grace_seconds=2)


def study_in(store: StudyStore, name: str = "one", **values: object) -> optuna.Study:
    return optuna.create_study(study_name=name, storage=store.storage, **values)


def test_the_installed_version_is_the_checked_one() -> None:
    assert optuna.__version__ == CHECKED, (
        f"Optuna is {optuna.__version__}, its private names were checked against {CHECKED}. Read Optuna's changes to "
        "RDBStorage._get_stale_trial_ids, Study._get_trials, Trial._trial_id, enqueue_trial's fixed_params, and the "
        "tables version_info and alembic_version; when the other tests of this file pass, raise CHECKED"
    )


def test_a_trials_id_is_the_storages_key_and_not_its_number(store: StudyStore) -> None:
    study_in(store, "first").ask()
    trial = study_in(store, "second").ask()
    assert trial.number == 0
    assert store.storage.get_trial(optuna_private.trial_id(trial)).number == 0
    frozen = store.storage.get_trial(optuna_private.trial_id(trial))
    assert optuna_private.trial_id(frozen) == optuna_private.trial_id(trial) == 2


def test_a_silent_trial_is_stale_and_goes_on_running(store: StudyStore) -> None:
    study = study_in(store)
    alive, silent = (optuna_private.trial_id(study.ask()) for _ in range(2))
    for trial in (alive, silent):
        store.storage.record_heartbeat(trial)
    with store.storage.engine.begin() as database:
        database.execute(
            sa.text("update trial_heartbeats set heartbeat = '2013-01-01' where trial_id = :trial"), {"trial": silent}
        )
    study_id = store.storage.get_study_id_from_name("one")
    assert optuna_private.stale_trial_ids(store.storage, study_id) == {silent}
    assert store.storage.get_trial(silent).state == TrialState.RUNNING


def test_fixed_parameters_are_proposed_as_those_of_an_enqueued_trial(store: StudyStore) -> None:
    study = study_in(store)
    study.enqueue_trial({"x": 0.25})
    study.add_trial(
        optuna.trial.create_trial(state=TrialState.WAITING, system_attrs=optuna_private.fixing({"x": 0.25}))
    )
    theirs, ours = study.get_trials(deepcopy=False)
    assert optuna_private.fixed_params(theirs) == optuna_private.fixed_params(ours) == {"x": 0.25}
    assert [study.ask().suggest_float("x", 0, 1) for _ in range(2)] == [0.25, 0.25]
    assert optuna_private.fixing({}) is None


def test_tables_are_complete_only_when_this_release_made_them_to_their_end(tmp_path: Path, store: StudyStore) -> None:
    empty = sa.create_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    assert not optuna_private.tables_are_complete(empty)
    assert optuna_private.tables_are_complete(store.storage.engine)
    with store.storage.engine.begin() as database:
        database.execute(sa.text("update version_info set library_version = '4.0.0'"))
    assert not optuna_private.tables_are_complete(store.storage.engine)


def test_samplers_and_pruners_see_some_trials_only(store: StudyStore) -> None:
    study, looked = study_in(store), []
    sampler = optuna.samplers.TPESampler(n_startup_trials=1, multivariate=True, group=True)

    def belongs(trial: FrozenTrial) -> bool:
        looked.append(trial.number)
        return trial.number != 0

    for value in range(4):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        trial.report(float(value), 1)
        study.tell(trial, float(value))
    some = optuna_private.StudyOfSome(study, belongs)
    assert [trial.number for trial in some.get_trials()] == [1, 2, 3]
    assert some.study_name == "one"

    trial = store.storage.get_trial(optuna_private.trial_id(study.ask()))
    looked.clear()
    space = sampler.infer_relative_search_space(some, trial)
    assert set(sampler.sample_relative(some, trial, space)) == {"x"}
    assert set(looked) >= {0, 1, 2, 3}

    looked.clear()
    store.storage.set_trial_intermediate_value(optuna_private.trial_id(trial), 1, 0.5)
    trial = store.storage.get_trial(optuna_private.trial_id(trial))
    # worse than no other trial but the first, which is not seen
    assert not optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0).prune(some, trial)
    assert 0 in looked
