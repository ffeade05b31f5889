"""The base of the values that one task hands to the next: immutable, checked when read, plain JSON in an XCom."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Handover(BaseModel):
    """A value that one task hands to the next.

    A cleared task may read an XCom that an earlier release wrote: ``schema_version`` says which form it has, and a
    form that this release does not know is refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    schema_version: Literal[1] = 1
