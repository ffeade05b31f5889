"""The GPUs and CPU cores of this machine."""

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
    """Load NVIDIA's management library while the block runs; yield None on a machine without its driver."""
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
    """Return the GPUs that this process may use, in bus order.

    This asks the driver and not CUDA: forked children of a process that has started CUDA cannot use CUDA.
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
    """Return the indices that CUDA_VISIBLE_DEVICES leaves, all without it; only numbers are supported in it."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return list(range(count))
    return [index for index in range(count) if str(index) in given.replace(" ", "").split(",")]


def cores() -> int:
    """Return the number of CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0))
