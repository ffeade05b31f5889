"""The demo: bootstrap, train, promote and backfill the flights use case, with progress."""

from __future__ import annotations

from rich.console import Console

from include.stack.layout import Layout


def run_demo(layout: Layout, console: Console) -> int:
    """Placeholder replaced in the next commit."""
    console.print(layout.airflow_url)
    return 1
