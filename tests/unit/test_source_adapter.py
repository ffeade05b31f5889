"""The adapter of a use case is found wherever its folder lies, and a wrong name is said before a row is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.core.errors import SpecError
from include.sources.adapter import SourceAdapter, open_adapter
from include.spec.loading import load_use_case
from include.spec.use_case import UseCase
from tests.unit import shop_case


def with_source(adapter: str, **options: object) -> UseCase:
    case = shop_case.shop()
    return case.model_copy(
        update={"source": case.source.model_copy(update={"adapter": adapter, "options": dict(options)})}
    )


def test_an_adapter_of_another_folder_is_opened(tmp_path: Path) -> None:
    opened = open_adapter(shop_case.shop(), str(tmp_path))
    assert isinstance(opened, SourceAdapter)
    assert type(opened).__module__ == "include.use_cases.shop.source"


def test_a_module_of_the_environment_is_an_adapter_too(tmp_path: Path) -> None:
    case = load_use_case("flights")
    dotted = case.source.model_copy(update={"adapter": "include.use_cases.flights.source:FlightsSource"})
    opened = open_adapter(case.model_copy(update={"source": dotted}), str(tmp_path))
    assert type(opened) is type(open_adapter(case, str(tmp_path)))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (with_source("source:Bakry"), "shop: source.adapter: source has no class 'Bakry'; did you mean \"Bakery\"?"),
        (with_source("sauce:Bakery"), r"shop: source.adapter: .*shop/sauce\.py does not exist"),
        (with_source("no_such_package.source:Bakery"), "no_such_package.source is not installed"),
        (with_source("source:Bakery", ovens=3), r"source\.options do not fit Bakery\(.*\): .*'ovens'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, case: UseCase, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        open_adapter(case, str(tmp_path))


def test_an_error_inside_of_the_module_is_its_own(tmp_path: Path) -> None:
    case = shop_case.shop_with(tmp_path)
    (tmp_path / "cases" / "shop" / "late.py").write_text("import no_such_library\n", encoding="utf-8")
    case._assets_folder = tmp_path / "cases" / "shop"
    broken = case.model_copy(update={"source": case.source.model_copy(update={"adapter": "late:Bakery"})})
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        open_adapter(broken, str(tmp_path))
