"""A card says what is recorded, draws what was measured, and runs nothing that its data contain."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pytest

from include.core.templates import escape_markdown
from include.registry.registration import Challenger
from include.steps.train import model_card, registering
from include.steps.train.model_card import pictures
from include.steps.train.model_card.blocks import Command, Listing, Picture, Section, Table, Text
from include.steps.train.model_card.content import limits
from include.steps.train.model_card.curves import Curve
from include.steps.train.model_card.pages import html_page, markdown_page
from include.steps.workspace import Workspace
from include.training.judging.evidence import Bin, Evidence, Slice
from include.training.model import MANIFEST, Manifest
from tests.unit import promotion_case as given

HOSTILE = "<script>alert(1)</script> | [x](javascript:y) `z` $\\frac{1}$ \"'&amp; \x07"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return given.workspace(
        tmp_path_factory.mktemp("card"),
        training={"families": {"lightgbm": {"rounds": 20, "min_data_in_leaf": 20}}, "trials": 2},
        scoring={"recalibration": {"min_rows": 50}},
        title=f"Late {HOSTILE}",
        limits=["It knows nothing of strikes."],
    )


@pytest.fixture(scope="module")
def challenger(there: Workspace) -> Challenger:
    return registering.describe(there, given.fit(there), given.attempt())


@pytest.fixture(scope="module")
def card(there: Workspace, challenger: Challenger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_card.write(there, challenger, tmp_path_factory.mktemp("written"))


def test_the_card_names_what_the_model_rests_on(card: Path, challenger: Challenger) -> None:
    text = (card / model_card.MARKDOWN).read_text()
    data = challenger.trained_on
    for wanted in (
        data.fingerprint,
        challenger.digest,
        "2013-03-23",  # first test day
        "Scoring adds an offset",
        "It knows nothing of strikes.",
        "python -m include.steps.train.rebuild --use-case flights --as-of 2013-04-03 "
        f"--content {data.fingerprint[:12]} --version {data.version}",
        'airflow dags trigger flights_train --conf \'{"as_of": "2013-04-03"}\'',
    ):
        assert wanted in text or escape_markdown(wanted) in text
    assert "constant" in text


def test_its_pictures_are_drawings_that_say_what_they_show(card: Path) -> None:
    names = {path.stem for path in card.glob("*.svg")}
    assert names == {"reliability", "importance", "slices", "learning_curves"}
    for path in card.glob("*.svg"):
        root = ET.fromstring(path.read_text())
        assert root.get("aria-label")
        assert f"]({path.name})" in (card / model_card.MARKDOWN).read_text()


class Tags(HTMLParser):
    """Collects tags and what they load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href") or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_loads_nothing_and_runs_nothing(card: Path) -> None:
    page = Tags()
    page.feed((card / model_card.HTML).read_text())
    assert "script" not in page.tags
    assert page.loaded == []
    assert page.tags.count("svg") == 4


def test_the_same_model_has_the_same_card(there: Workspace, challenger: Challenger, card: Path, tmp_path: Path) -> None:
    again = model_card.write(there, challenger, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in card.iterdir()
    }


def test_whatever_the_text_it_stays_text() -> None:
    blocks = (Text(HOSTILE), Listing((HOSTILE,)), Command(HOSTILE), Table(((HOSTILE, "b"), (HOSTILE, "d"))))
    page = Tags()
    page.feed(html_page(HOSTILE, [Section(HOSTILE, blocks)]))
    assert "script" not in page.tags
    assert page.loaded == []
    assert page.text.count(HOSTILE) == 8  # the title twice, heading, paragraph, item, command and two cells
    shown = markdown_page(HOSTILE, [Section(HOSTILE, blocks)])
    outside_code = "".join(shown.split("``````")[::2])
    assert "<script>" not in outside_code.replace("\\<", "")
    assert "](" not in outside_code.replace("\\]", "")


def drawn_of_hostile_names() -> list[Picture]:
    curve = Curve(0, HOSTILE, "complete", ((1, 0.7), (2, 0.5)), 0.5)
    found = [
        pictures.reliability([Bin(rows=9, lowest=0, highest=1, predicted=0.4, observed=0.2)], HOSTILE),
        pictures.importance({HOSTILE: 2.0, "rate": 1.0}),
        pictures.slices([slice_of(HOSTILE, 900, 0.1, 0.3)], HOSTILE, "regression"),
        pictures.learning_curves([curve], HOSTILE, 0),
    ]
    return [picture for picture in found if picture is not None]


def test_a_name_in_a_picture_stays_text() -> None:
    for picture in drawn_of_hostile_names():
        names = {element.tag.rpartition("}")[2] for element in ET.fromstring(picture.svg).iter()}
        assert names <= {"svg", "title", "desc", "defs", "g", "path", "use", "text", "tspan", "clipPath", "rect"}


def test_pictures_share_a_page_without_sharing_ids() -> None:
    drawn = drawn_of_hostile_names()
    ids = [element.get("id") for picture in drawn for element in ET.fromstring(picture.svg).iter() if element.get("id")]
    assert ids
    assert len(ids) == len(set(ids))


def test_a_point_says_more_under_the_pointer() -> None:
    shown = ET.fromstring(pictures.importance({"rate": 2.0}).svg)
    assert "rate: 2" in [element.text for element in shown.iter("{http://www.w3.org/2000/svg}title")]


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    before = dict(matplotlib.rcParams)
    first = pictures.importance({"rate": 2.0})
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        assert pictures.importance({"rate": 2.0}) == first
    assert dict(matplotlib.rcParams) == before


def slice_of(value: str, rows: int, observed: float, predicted: float) -> Slice:
    return Slice(
        column="origin", value=value, rows=rows, days=7, label_mean=observed, predicted_mean=predicted, metrics={}
    )


def test_limits_are_read_off_the_figures(there: Workspace, challenger: Challenger) -> None:
    manifest = Manifest.model_validate_json((challenger.model_dir / MANIFEST).read_text())
    evidence = Evidence.model_validate(challenger.evidence).model_copy(
        update={
            "reliability": (Bin(rows=10, lowest=0, highest=1, predicted=0.4, observed=0.2),),
            "slices": (slice_of("EWR", 900, 0.1, 0.3), slice_of("JFK", 900, 0.2, 0.21), slice_of("LGA", 9, 0.1, 0.9)),
        }
    )
    said = " ".join(limits(there, evidence, manifest))
    assert "It knows nothing of strikes." in said
    assert "The base rate moved: it predicted 0.400 on average where 0.200" in said
    assert "origin=EWR is off by +0.200" in said
    assert "origin=JFK" not in said
    assert "hardly judged: origin=LGA" in said


def test_pictures_of_little_are_still_pictures() -> None:
    one = Bin(rows=1, lowest=0.5, highest=0.5, predicted=0.5, observed=0.5)
    for picture in (pictures.reliability([one]), pictures.importance({}), pictures.importance({"a": 0.0})):
        assert isinstance(picture, Picture)
        ET.fromstring(picture.svg)
    assert pictures.learning_curves([Curve(0, "logistic", "complete", ((1, 0.5),), 0.5)], "log_loss", 0) is None
