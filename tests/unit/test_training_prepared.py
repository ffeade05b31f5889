"""Workers of a run read, cut, encode and bin the training set once between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from include.training.families import family
from include.training.families.base import Fitting
from include.training.judging.metrics import metric
from include.training.study import prepared
from include.training.study.prepared import Frozen, SharedFolder, discard_data, open_data
from include.training.training_set import TrainingSet
from tests.unit.test_training_families import point
from tests.unit.training_rows import model_settings, training_rows

ROWS = TrainingSet.of(training_rows())


def test_second_worker_reads_no_training_set_and_sees_the_same(tmp_path: Path) -> None:
    settings = model_settings()
    alone = open_data(ROWS, settings)
    first = open_data(Frozen(ROWS.fingerprint, lambda: ROWS), settings, tmp_path)
    second = open_data(Frozen(ROWS.fingerprint, lambda: pytest.fail("read again")), settings, tmp_path)
    for data in (first, second):
        np.testing.assert_array_equal(data.train.x, alone.train.x)
        np.testing.assert_array_equal(data.valid.y, alone.valid.y)
        np.testing.assert_array_equal(data.valid.blocks, alone.valid.blocks)
        assert data.train.encoding == alone.train.encoding
    discard_data(tmp_path, ROWS.fingerprint)
    assert not list(tmp_path.iterdir())


def test_other_windows_are_prepared_apart(tmp_path: Path) -> None:
    open_data(ROWS, model_settings(), tmp_path)
    assert len(open_data(ROWS, model_settings(valid_periods=5), tmp_path).valid.y) == 200


def test_shared_bins_fit_the_same_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, kind = model_settings(), family("lightgbm")
    predicted = []
    for root in (None, tmp_path, tmp_path):
        data = open_data(ROWS, settings, root)
        fitting = Fitting("binary", metric("log_loss"), cache=data.cache)
        prepared = kind.prepare(data.train, data.valid, settings.space("lightgbm"), fitting)
        model = kind.fit(point(settings, "lightgbm"), prepared, fitting)
        predicted.append(model.predict(data.valid.x))
        if root is not None:
            monkeypatch.setattr("include.training.families.boosting._bin", lambda *_: pytest.fail("binned again"))
    np.testing.assert_array_equal(predicted[0], predicted[1])
    np.testing.assert_array_equal(predicted[1], predicted[2])


def test_file_that_could_not_be_made_is_made_by_the_next(tmp_path: Path) -> None:
    folder = SharedFolder(tmp_path)

    def torn(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folder.file("bins", torn)

    def whole(path: Path) -> None:
        path.write_text("whole")

    assert folder.file("bins", whole).read_text() == "whole"
    assert folder.file("bins", lambda path: pytest.fail("made twice")).read_text() == "whole"


def test_worker_killed_while_preparing_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = model_settings()
    with monkeypatch.context() as patched:
        saved: list[Path] = []

        def dies(path: Path, values: object) -> None:
            saved.append(path)
            path.write_bytes(b"torn")
            if len(saved) == 2:
                raise SystemExit(137)

        patched.setattr(prepared, "_save", dies)
        with pytest.raises(SystemExit):
            open_data(ROWS, settings, tmp_path)
    data = open_data(ROWS, settings, tmp_path)
    np.testing.assert_array_equal(data.train.x, open_data(ROWS, settings).train.x)
