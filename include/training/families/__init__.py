"""Model families behind one interface; ``family("lightgbm")`` imports only the one asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from include.spec.families import FAMILIES

if TYPE_CHECKING:
    from include.training.families.base import Family


def family(name: str) -> Family[Any]:
    """The family called ``name``; names are checked when a spec loads."""
    created: Family[Any] = import_module(FAMILIES[name].module).FAMILY
    return created
