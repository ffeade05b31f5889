"""This machine's GPUs, as its driver reports them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """One GPU: its index in bus order, its name, and its memory in GiB."""

    index: int
    name: str
    total_gb: float
    free_gb: float


@contextmanager
def driver() -> Iterator[Any | None]:
    """NVIDIA's management library while the block runs, or None on a machine without its driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may use, in bus order.

    Asks the driver and not CUDA: a process that has started CUDA can have no forked children that use it.
    """
    with driver() as nvml:
        if nvml is None:
            return ()
        return tuple(_gpu(nvml, index) for index in _visible(nvml.nvmlDeviceGetCount()))


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return Gpu(index, str(name), memory.total / _GIB, memory.free / _GIB)


def _visible(count: int) -> list[int]:
    """All indices, or those that CUDA_VISIBLE_DEVICES leaves; identifiers other than numbers are not followed."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return list(range(count))
    return [index for index in range(count) if str(index) in given.replace(" ", "").split(",")]


def cores() -> int:
    """CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0))
