"""The page "Add a feature" is true: its commands, run by the functions behind them, in the order of the page."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pyarrow.compute as pc
import pytest

from include.core import partitions
from include.core.errors import DefinitionChanged, MissingPartitions
from include.core.partitions import Span
from include.core.repository import REPOSITORY
from include.feature_store import feast_store
from include.lake.records import Input
from include.spec.use_case import UseCase
from include.steps import check, features, provenance, verify
from include.steps.train import experiment, search, training_sets
from include.steps.workspace import Workspace
from include.training.study import results
from tests.unit import shop_case as given

PAGE = REPOSITORY / "docs" / "how-to" / "add-a-feature.md"
FIRST, AS_OF, LAST = "2024-03-01", "2024-04-02", "2024-04-02"
HISTORY = Span(first="2024-03-13", last=LAST)
VIEW, COLUMN = "shop/features/sold_lately", "sold_most_7d"
BEFORE = "count(*) AS sold_days_7d"


def short(case: UseCase) -> UseCase:
    """Return the use case with a short history and short windows."""
    history = case.history.model_copy(update={"first": FIRST})
    training = case.training.model_copy(update={"valid_periods": 3, "test_periods": 3})
    return case.model_copy(update={"history": history, "training": training})


def blocks(kind: str) -> list[str]:
    """Return the code blocks of the page with a language, empty for commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language == kind]


def commands() -> list[list[str]]:
    lines = [line for block in blocks("") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(("make ", "airflow "))]


class Shop:
    """A use case in a folder, whose query a person edits, and a deployment of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        given.shop_with(folder)
        self.query = folder / "cases" / "shop" / "sql" / "features" / "sold_lately.sql"
        self.first = self.query.read_text(encoding="utf-8")
        monkeypatch.setattr(Workspace, "open", lambda name: self.open())

    def open(self) -> Workspace:
        return given.workspace(self.folder / "state", short(given.shop(self.folder / "cases")))

    def add_the_line(self) -> None:
        (line,) = blocks("sql")
        self.query.write_text(self.first.replace(BEFORE, BEFORE + line), encoding="utf-8")

    def take_it_out(self) -> None:
        self.query.write_text(self.first, encoding="utf-8")

    def bootstrap(self, first: str, last: str) -> None:
        """Do as the DAG: land the span, and compute the features whose look-back is whole."""
        there = self.open()
        given.land(there, Span(first=first, last=last))
        begin = partitions.shift(first, there.case.features.lookback_periods)
        given.compute_features(there, Span(first=begin, last=last), f"{len(self.query.read_text(encoding='utf-8'))}")

    def run(self, words: list[str]) -> int:
        """Run a command of the page; return its exit status."""
        values = dict(word.split("=", 1) for word in words if "=" in word and word[0].isupper())
        match words[:3]:
            case ["make", "train-local", _] if values.get("ARGS") == "--help":
                with pytest.raises(SystemExit):
                    experiment.main(["--help"])
                return 0
            case ["make", "train-local", _]:
                return experiment.main(["--use-case", values["CASE"], "--as-of", values["AS_OF"]])
            case ["make", "check", _]:
                list(check.check(given.workspace(self.folder / "check", self.open().case), LAST))
                return 0
            case ["airflow", "dags", "trigger"]:
                conf = json.loads(words[words.index("--conf") + 1])
                self.bootstrap(conf["from"], conf["to"])
                return 0
        raise AssertionError(f"no function is known for {words}")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = Shop(tmp_path, monkeypatch)
    made.bootstrap(FIRST, LAST)
    return made


def sets(shop: Shop) -> list[str]:
    return training_sets.tables_of_day(shop.open(), AS_OF)


def test_the_page(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    there, asked = shop.open(), commands()
    before = there.lake.fingerprints(VIEW, HISTORY.keys)
    assert [words[1] for words in asked] == ["train-local", "check", "dags", "train-local", "dags", "train-local"]
    train, look, compute, again, back, last = asked
    # 1
    assert shop.run(train) == 0
    (first,) = sets(shop)
    said = capsys.readouterr().out
    assert f"training set: {first}, version 1" in said
    assert "there is no champion to compare with" in said
    assert "1/1 trials (1 done" in said
    # 2 to 4
    shop.add_the_line()
    assert shop.run(look) == 0
    assert shop.run(compute) == 0
    assert shop.run(again) == 0
    said = capsys.readouterr().out
    (other,) = set(sets(shop)) - {first}
    assert [line.split()[-1] for line in said.splitlines() if "ridge" in line and ".." in line] == ["6", f"-{COLUMN}"]
    assert COLUMN in there.lake.dataset(other).schema.names
    assert COLUMN not in there.lake.dataset(first).schema.names
    # 5
    shop.take_it_out()
    assert shop.run(back) == 0
    assert there.lake.fingerprints(VIEW, HISTORY.keys) == before
    assert shop.run(last) == 0
    assert "the same experiment is done" in capsys.readouterr().out
    assert sets(shop) == sorted([first, other])
    assert there.lake.version(first) == there.lake.version(other) == 1
    assert verify.verify(there).differences == ()
    # both sets can be made again from the inputs that they were made from
    content = there.lake.records(first)[AS_OF].fingerprint
    assert training_sets.rebuild(shop.open(), first, 1) == content
    shop.add_the_line()
    assert training_sets.rebuild(shop.open(), other, 1) == there.lake.records(other)[AS_OF].fingerprint


def test_older_partitions_are_asked_for_by_name_before_a_set_takes_the_column(shop: Shop) -> None:
    shop.add_the_line()
    there = shop.open()
    given.compute_features(there, Span.one(LAST), "tonight")
    frozen = training_sets.freeze(there, AS_OF, given.attempt("train"))
    # the set ends before the partition that has the column
    assert COLUMN not in there.lake.dataset(frozen.table).schema.names
    given.compute_features(there, Span.one("2024-03-28"), "some day")
    with pytest.raises(DefinitionChanged) as refused:
        training_sets.freeze(there, AS_OF, given.attempt("train", "again"))
    said = str(refused.value)
    assert f"were computed by another definition than 2024-03-28 and lack {COLUMN}; compute them again" in said
    assert "airflow backfill create --dag-id shop_features --from-date 2024-03-13 --to-date 2024-03-27" in said


def test_partitions_without_a_definition_count_as_others_if_they_lack_the_column(shop: Shop) -> None:
    """Partitions from before definitions were recorded count as of the definition of the others, but for this."""
    there = shop.open()
    keys = HISTORY.keys[:-1]
    rows = there.lake.dataset(VIEW, keys).to_table()
    by = given.attempt("features", "undefined")
    fewer = rows.filter(pc.not_equal(rows["shop"], rows["shop"][0]))
    there.lake.publish(there.lake.stage(VIEW, fewer.sort_by("ds").to_reader(), keys, by, ("shop",)), by)
    shop.add_the_line()
    there = shop.open()
    given.compute_features(there, Span.one("2024-03-28"), "some day")
    with pytest.raises(DefinitionChanged, match=f"and lack {COLUMN}"):
        provenance.notes_of_set(there.at_one_moment(), Span(first="2024-03-13", last="2024-03-28"))


def test_feast_gives_null_where_a_partition_lacks_the_column(shop: Shop) -> None:
    """Offline by an as-of join over old and new files, online for keys of old partitions, and at an old version."""
    there = shop.open()
    old = there.lake.version(VIEW)
    assert features.materialize(there, Span.one("2024-04-01")).views == 1
    shop.add_the_line()
    there = shop.open()
    given.compute_features(there, Span.one(LAST), "tonight")
    rows = there.lake.dataset(VIEW, ["2024-04-01", LAST]).to_table().select(["ds", "shop", "event_timestamp"])
    rows = rows.sort_by([("ds", "ascending"), ("shop", "ascending")])
    found = features.lookup(there, {}).add_to(rows)
    assert found.filter(pc.equal(found["ds"], "2024-04-01"))[COLUMN].null_count == 6
    assert found.filter(pc.equal(found["ds"], LAST))[COLUMN].null_count == 0
    assert found["sold_mean_7d"].null_count == 0
    # a set that was frozen before the column came is looked up at the version that it recorded
    read = {VIEW: Input(old or 0, HISTORY.first, LAST, "")}
    pinned = features.lookup(there, read).add_to(rows)
    assert pinned[COLUMN].null_count == len(rows)
    assert pinned[COLUMN].type == found[COLUMN].type
    assert features.lacking(there, read) == {COLUMN}
    opened = features.store(there)
    features.apply_definitions(there, opened)
    shops = sorted(set(rows["shop"].to_pylist()))

    def online() -> list[object]:
        clock = partitions.clock(LAST, there.case.time_zone)
        return feast_store.online_features(opened, "shop_v1", {"shop": shops}, clock)[COLUMN].to_pylist()

    assert online() == [None] * 6
    features.materialize(there, Span.one(LAST))
    assert None not in online()


def test_scoring_goes_on_over_the_query_that_is_set_back(shop: Shop) -> None:
    version = given_version(shop.open())
    shop.add_the_line()
    shop.bootstrap(FIRST, LAST)
    with pytest.raises(DefinitionChanged, match="view sold_lately of 2024-04-02 was computed by another definition"):
        refuse(shop, version)
    shop.take_it_out()
    shop.bootstrap(FIRST, LAST)
    refuse(shop, version)


def given_version(there: Workspace):  # type: ignore[no-untyped-def]
    from include.registry.model_versions import Version

    frozen = training_sets.freeze(there, AS_OF, given.attempt("train"))
    tags = {"as_of": AS_OF, "training_set_version": str(frozen.version), "training_set_fingerprint": frozen.fingerprint}
    return Version("shop", 1, "0" * 64, "2024-04-01", "run", tags)


def refuse(shop: Shop, version) -> None:  # type: ignore[no-untyped-def]
    provenance.refuse_other_features(shop.open().at_one_moment(), {1: version}, {1: [LAST]})


def test_an_interrupted_experiment_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C during the fit: no experiment is recorded, and the finished search is not repeated."""
    asked = ["--use-case", "shop", "--as-of", AS_OF]

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiment.fitting, "fit_best", interrupted)
        assert experiment.main(asked) == 130
    assert "the same command goes on where it stopped" in capsys.readouterr().err
    (folder,) = experiment.folder_of(shop.open(), AS_OF).iterdir()
    assert not (folder / experiment.RESULT).exists()
    assert experiment.main(asked) == 0
    apart = f"sqlite:///{folder / 'study.db'}"
    frozen = training_sets.freeze(shop.open(), AS_OF, given.attempt("train"))
    assert results.study_progress(apart, search.study_of(shop.open(), frozen)).done == 1
    assert {path.name for path in folder.iterdir()} == {
        "experiment.json", "model", "model_card", "study.db", "study.db.lock",
    }  # fmt: skip


def test_an_experiment_touches_nothing_of_the_deployment(shop: Shop) -> None:
    there = shop.open()
    made, folder = experiment.run(there, AS_OF, trials=1)
    assert (folder / "model_card" / "model_card.html").exists()
    assert made.training_set[0] == sets(shop)[0]
    state = Path(there.settings.lake_root).parent
    assert not [name for name in ("studies.db", "mlflow.db", "registry.db", "online.db") if (state / name).exists()]


@pytest.mark.parametrize(("arguments", "said"), [
    (["--use-case", "shop", "--as-of", "2024-03-05"], "train as of a later day"),
    (["--use-case", "shop", "--as-of", "2030-01-01"], "outside the source's history"),
])  # fmt: skip
def test_what_cannot_be_trained_is_said_in_one_line(
    shop: Shop, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiment.main(arguments) == 1
    assert said in capsys.readouterr().err


def test_nothing_is_published_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingPartitions, match="run shop_bootstrap first"):
        experiment.run(Shop(tmp_path, monkeypatch).open())
