"""The folder of this clone, in a module that costs nothing to import."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
