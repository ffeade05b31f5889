"""Measured use of a worker, and an estimate of its cost."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from include.accelerators import hardware
from include.core.handover import Handover

_INTERVAL_SECONDS = 1.0


class Usage(Handover):
    """One worker's use of the machine.

    Attributes:
        place: where it ran.
        device: name of its GPU, else ``cpu``.
        seconds: wall time for which it held the slot.
        gpu_seconds: the same if the slot was a GPU, else 0.
        cpu_seconds: CPU time of all its processes.
        peak_rss_gb: largest resident memory of one of them, GiB.
        peak_vram_gb: most GPU memory in use, GiB; None without a GPU.
        utilisation: mean share of the time in which the GPU, or without one its cores, were busy, 0 to 1.
        cost_usd: estimate by the price table; None where it has no price.
    """

    place: str
    device: str
    seconds: float
    gpu_seconds: float
    cpu_seconds: float
    peak_rss_gb: float
    peak_vram_gb: float | None
    utilisation: float | None
    cost_usd: float | None

    def metrics(self) -> dict[str, float]:
        """Return the numeric fields, by the names under which MLflow shows them."""
        return {f"usage/{name}": float(v) for name in _NUMBERS if (v := getattr(self, name)) is not None}

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, float], place: str, device: str) -> Usage | None:
        """Return the usage that ``metrics`` record; None when they record none."""
        found: dict[str, Any] = {name: metrics.get(f"usage/{name}") for name in _NUMBERS}
        if found["seconds"] is None:
            return None
        return cls(place=place, device=device, **found)

    def __str__(self) -> str:
        vram = "" if self.peak_vram_gb is None else f", peak {self.peak_vram_gb:.1f} GiB VRAM"
        busy = "" if self.utilisation is None else f", {self.utilisation:.0%} busy"
        cost = "no price known" if self.cost_usd is None else f"about {self.cost_usd:.4f} USD"
        return (
            f"{self.seconds:.1f} s on {self.device}{vram}, {self.cpu_seconds:.1f} CPU-s, "
            f"peak {self.peak_rss_gb:.2f} GiB memory{busy}; {cost}"
        )


def total(used: Sequence[Usage]) -> dict[str, float]:
    """Sum up what several workers used, by the names under which MLflow shows it.

    Times and costs add up, peaks are the highest, the utilisation is weighted by time. The cost is left out if one
    worker has none: a partial sum would be read as the whole.
    """
    if not used:
        return {}
    metrics = [one.metrics() for one in used]
    found: dict[str, float] = {"usage/workers": float(len(used))}
    for name in _NUMBERS:
        known = [(of[f"usage/{name}"], of["usage/seconds"]) for of in metrics if f"usage/{name}" in of]
        if not known or (name == "cost_usd" and len(known) < len(used)):
            continue
        values = [value for value, _ in known]
        if name.startswith("peak_"):
            found[f"usage/{name}"] = max(values)
        elif name == "utilisation":
            weights = sum(seconds for _, seconds in known)
            found[f"usage/{name}"] = sum(value * seconds for value, seconds in known) / weights if weights else 0.0
        else:
            found[f"usage/{name}"] = sum(values)
    return found


_NUMBERS = (
    "seconds", "gpu_seconds", "cpu_seconds", "peak_rss_gb", "peak_vram_gb", "utilisation", "cost_usd",
)  # fmt: skip


class GpuSampler:
    """A sampler of one GPU while its block runs; without a GPU it does nothing.

    It measures the whole device: the lease is exclusive, and inside a container the driver does not show processes.
    """

    def __init__(self, index: int | None, interval: float = _INTERVAL_SECONDS) -> None:
        self._index, self._interval = index, interval
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._peak: float | None = None
        self._busy: list[float] = []

    @property
    def peak_vram_gb(self) -> float | None:
        """Return the most memory seen in use, GiB."""
        return self._peak

    @property
    def utilisation(self) -> float | None:
        """Return the mean share of time in which a kernel ran, 0 to 1."""
        return sum(self._busy) / len(self._busy) if self._busy else None

    def __enter__(self) -> GpuSampler:
        if self._index is not None:
            self._thread = threading.Thread(target=self._watch, args=(self._index,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, index: int) -> None:
        with hardware.driver() as nvml:
            if nvml is None:
                return
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            while True:
                self._sample(nvml, handle)
                if self._stop.wait(self._interval):
                    self._sample(nvml, handle)
                    return

    def _sample(self, nvml: Any, handle: Any) -> None:
        used = nvml.nvmlDeviceGetMemoryInfo(handle).used / 2**30
        self._peak = used if self._peak is None else max(self._peak, used)
        self._busy.append(nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)


def cost(prices: Mapping[str, float], keys: tuple[str, ...], seconds: float, units: int = 1) -> float | None:
    """Estimate USD for ``units`` over ``seconds``, by the first of ``keys`` that has a price an hour."""
    for key in keys:
        if key in prices:
            return prices[key] * units * seconds / 3600
    return None
