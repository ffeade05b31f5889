"""Model families behind one interface, ``base.Family``; ``family("lightgbm")`` imports that family only.

May import ``include.training.data``, ``imbalance`` and the metrics of ``judging``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from include.spec.families import FAMILIES

if TYPE_CHECKING:
    from include.training.families.base import Family


def family(name: str) -> Family[Any]:
    """Return the family called ``name``; names are checked when a spec loads."""
    created: Family[Any] = import_module(FAMILIES[name].module).FAMILY
    return created
