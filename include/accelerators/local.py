"""A worker on this machine: lease a GPU or CPU slot, start the worker, read its output, measure it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from include.accelerators import hardware, lease, process
from include.accelerators.hardware import Gpu
from include.accelerators.lease import Lease, Slot
from include.accelerators.settings import AcceleratorSettings
from include.accelerators.usage import GpuSampler, Usage, cost
from include.core.errors import AcceleratorError
from include.spec.accelerator import AcceleratorSpec

_log = logging.getLogger(__name__)
_SETTLE_SECONDS = 5.0  # the driver takes a moment to give back what a killed process held
_LAST_LINES = 5  # of a failed worker's output, repeated in the error


@dataclass
class LocalRun:
    """One worker on this machine.

    Attributes:
        module, arguments: what ``python -m`` is to run.
        needs: what it needs of the machine.
        holder: name that others see while the slot is taken.
        environ: environment variables besides those of this process.
        line: receives each line that the worker prints.
        watching: a block to be in while the worker runs; entered after it was started, so that it may use threads.
        used: what the worker used, also if it failed; None before it has ended.
    """

    module: str
    arguments: Sequence[str]
    needs: AcceleratorSpec
    settings: AcceleratorSettings
    holder: str
    environ: dict[str, str] = field(default_factory=dict)
    line: Callable[[str], None] = _log.info
    watching: Callable[[], AbstractContextManager[object]] = nullcontext
    used: Usage | None = None
    _worker: process.Worker | None = None
    _stopped: bool = False

    def run(self) -> Usage:
        """Run the worker to its end; return what it used.

        Raises:
            AcceleratorError: no slot fits or is free, the worker failed, or it was stopped.
        """
        gpus = () if self.needs.gpu == "none" else hardware.gpus()
        with self._lease(gpus) as held:
            gpu = next((gpu for gpu in gpus if held.slot == Slot("gpu", gpu.index)), None)
            return self._run_in(held, gpu)

    def stop(self) -> None:
        """End the worker and everything it started; called from a signal handler or after a timeout."""
        self._stopped = True
        if self._worker is not None:
            self._worker.stop()

    def _lease(self, gpus: Sequence[Gpu]) -> Lease:
        if not (slots := gpu_slots(gpus, self.needs)):
            return self._lease_cpu()
        while slots:
            held = self._acquire(slots)
            if _has_room(held.slot, self.needs):
                _log.info("leased GPU %d of %d, lease %s", held.slot.index, len(gpus), held.token)
                return held
            held.release()
            slots.remove(held.slot)
        raise AcceleratorError(
            f"vram_gb is {self.needs.vram_gb:g} and no GPU has that much free ({_memory(hardware.gpus())}): a process "
            "without a lease uses them; end it, or lower vram_gb"
        )

    def _lease_cpu(self) -> Lease:
        slots = cpu_slots(self.settings)
        held = self._acquire(slots)
        why = "no GPU was asked for" if self.needs.gpu == "none" else "this machine has no GPU"
        _log.info("leased CPU slot %d of %d: %s; lease %s", held.slot.index, len(slots), why, held.token)
        return held

    def _acquire(self, slots: Sequence[Slot]) -> Lease:
        return lease.acquire(self.settings.leases, slots, self.holder, self.settings.wait_seconds)

    def _run_in(self, held: Lease, gpu: Gpu | None) -> Usage:
        begun = time.monotonic()
        last: list[str] = []

        def listen(text: str) -> None:
            last[:] = [*last[1 - _LAST_LINES :], text]
            self.line(text)

        if self._stopped:
            raise AcceleratorError(f"{self.module} was stopped before it began")
        # a GPU's worker gets a fresh process: nothing that was imported here can have touched CUDA there
        warm = gpu is None and process.may_fork()
        self._worker = process.start(self.module, self.arguments, self._environ(held, gpu), held.descriptor, warm)
        with GpuSampler(None if gpu is None else gpu.index) as sampler, self.watching():
            try:
                ended = self._worker.follow(listen)
            except BaseException:
                self._worker.stop()
                raise
        seconds = time.monotonic() - begun
        self.used = used = self._usage(gpu, seconds, ended, sampler)
        _log.info("%s", used)
        if self._stopped:
            raise AcceleratorError(f"{self.module} was stopped after {seconds:.0f} s; clear the task to go on")
        if ended.code:
            raise AcceleratorError(f"{self.module} {_how(ended.code)}: " + (" | ".join(last) or "it printed nothing"))
        return used

    def _environ(self, held: Lease, gpu: Gpu | None) -> dict[str, str]:
        # bus order: CUDA's own order, fastest first, numbers the same GPUs differently than the driver
        device = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "" if gpu is None else str(gpu.index)}
        return {**os.environ, **self.environ, **device, lease.CLAIM: held.claim, "PYTHONUNBUFFERED": "1"}

    def _usage(self, gpu: Gpu | None, seconds: float, ended: process.Ended, sampler: GpuSampler) -> Usage:
        keys, units = (("cpu",), self.needs.cores) if gpu is None else ((gpu.name, "gpu"), 1)
        busy = ended.cpu_seconds / (seconds * self.needs.cores) if gpu is None else sampler.utilisation
        return Usage(
            place="local",
            device="cpu" if gpu is None else gpu.name,
            seconds=seconds,
            gpu_seconds=0.0 if gpu is None else seconds,
            cpu_seconds=ended.cpu_seconds,
            peak_rss_gb=ended.peak_rss_gb,
            peak_vram_gb=sampler.peak_vram_gb,
            utilisation=busy,
            cost_usd=cost(self.settings.prices, keys, seconds, units),
        )


def gpu_slots(gpus: Sequence[Gpu], needs: AcceleratorSpec) -> list[Slot]:
    """Return the GPUs that are large enough for ``needs``; an empty list means a CPU slot.

    Raises:
        AcceleratorError: a GPU is required and there is none, or none is large enough.
    """
    if needs.gpu == "none" or (not gpus and needs.gpu == "preferred"):
        return []
    if not gpus:
        raise AcceleratorError("a GPU is required and this machine has none; choose another accelerator, or gpu: none")
    large = [Slot("gpu", gpu.index) for gpu in gpus if gpu.total_gb >= needs.vram_gb]
    if not large:
        raise AcceleratorError(
            f"vram_gb is {needs.vram_gb:g} and no GPU here has that much ({_memory(gpus)}); lower it, or choose "
            "another accelerator"
        )
    return large


def _has_room(slot: Slot, needs: AcceleratorSpec) -> bool:
    """Return whether the leased GPU has the memory free; wait until its last holder's memory is given back."""
    end = time.monotonic() + _SETTLE_SECONDS
    while True:
        free = next((gpu.free_gb for gpu in hardware.gpus() if gpu.index == slot.index), 0.0)
        if free >= needs.vram_gb:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.5)


def _memory(gpus: Sequence[Gpu]) -> str:
    return ", ".join(f"GPU {gpu.index} {gpu.name}: {gpu.free_gb:.1f} of {gpu.total_gb:.1f} GiB free" for gpu in gpus)


def cpu_slots(settings: AcceleratorSettings) -> list[Slot]:
    """Return the CPU slots of this machine: as many as set, else one a core."""
    return [Slot("cpu", index) for index in range(settings.cpu_slots or hardware.cores())]


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
