"""What a worker needs of the machine it runs on; light enough to be part of a use-case spec."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from include.spec.values import Values

Place = Literal["local", "kubernetes", "aws_batch", "sagemaker"]
PLACES: tuple[Place, ...] = ("local", "kubernetes", "aws_batch", "sagemaker")


class AcceleratorSpec(Values):
    """One worker's needs.

    ``gpu`` says whether a worker may do without: ``preferred`` takes a GPU where there is one and else a CPU
    slot, ``required`` never starts without, ``none`` never takes one. ``vram_gb`` is GPU memory that must be
    free before the worker starts, in GiB; it means nothing on a CPU slot.
    """

    gpu: Literal["preferred", "required", "none"] = "preferred"
    vram_gb: float = Field(default=0.0, ge=0.0, le=1024.0, description="free GPU memory a worker needs, GiB")
    cores: int = Field(default=1, ge=1, le=256, description="CPU cores of one worker")
    memory_gb: int = Field(default=4, ge=1, le=4096, description="memory of one worker away from here, GiB")
    minutes: int = Field(default=720, ge=1, le=7200, description="longest a worker may run away from here")
