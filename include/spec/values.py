"""The base of everything that a YAML file may say."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Values(BaseModel):
    """A group of values from a YAML file: immutable, and an unknown name is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StrictValues(Values):
    """Values whose types must match exactly: the string ``"5"`` is not the number 5."""

    model_config = ConfigDict(strict=True)
