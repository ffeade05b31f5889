"""The command that pods and batch jobs run: start a worker, measure it, record its use in MLflow.

Example: ``python -m include.accelerators.job --place kubernetes -- include.training.study.worker --study ...``. The
worker is the same module with the same arguments as on one machine, and its exit code is passed on.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from include.accelerators import hardware, process, tracking
from include.accelerators.usage import GpuSampler, Usage, cost
from include.spec.accelerator import PLACES

_log = logging.getLogger(__name__)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m include.accelerators.job", description="Run and measure a worker.")
    parser.add_argument("--place", choices=PLACES, required=True, help="where this is, as the record names it")
    parser.add_argument("--experiment", default="", help="MLflow experiment of the run")
    parser.add_argument("--run", default="", help="MLflow run that receives what was used")
    parser.add_argument("--price", type=float, help="USD an hour of this machine")
    parser.add_argument("--secret", help="AWS Secrets Manager secret: a JSON object of environment variables")
    parser.add_argument("module", help="module to run as the worker")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="its arguments")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the worker; return its exit code."""
    options = arguments().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if options.secret:
        os.environ.update(secret(options.secret))
    run = tracking.TrackedRun(os.environ.get("MLFLOW_TRACKING_URI", ""), options.experiment, options.run)
    gpu = next(iter(hardware.gpus()), None)
    begun = time.monotonic()
    worker = process.start(options.module, options.rest, os.environ, keep=2, warm=False)

    def forward(_number: int, _frame: FrameType | None) -> None:
        worker.stop()

    signal.signal(signal.SIGTERM, forward)
    with GpuSampler(None if gpu is None else gpu.index) as sampler, tracking.system_metrics(run):
        ended = worker.follow(print)
    seconds = time.monotonic() - begun
    used = Usage(
        place=options.place,
        device="cpu" if gpu is None else gpu.name,
        seconds=seconds,
        gpu_seconds=0.0 if gpu is None else seconds,
        cpu_seconds=ended.cpu_seconds,
        peak_rss_gb=ended.peak_rss_gb,
        peak_vram_gb=sampler.peak_vram_gb,
        utilisation=ended.cpu_seconds / seconds / hardware.cores() if gpu is None else sampler.utilisation,
        cost_usd=None if options.price is None else cost({"here": options.price}, ("here",), seconds),
    )
    _log.info("%s", used)
    tracking.record(run, used)
    # a shell's convention: 128 and the signal
    return ended.code if ended.code >= 0 else 128 - ended.code


def secret(name: str) -> dict[str, str]:
    """Read environment variables from AWS Secrets Manager: batch services show variables that are set directly."""
    import boto3

    found = json.loads(boto3.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])
    return {str(key): str(value) for key, value in found.items()}


if __name__ == "__main__":
    sys.exit(main())
