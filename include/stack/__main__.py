"""The command line of the embedded stack: ``python -m include.stack``."""

from __future__ import annotations

import argparse
import os
import sys
import time

from rich.console import Console
from rich.table import Column, Table

from include.core.errors import LifecycleError
from include.stack.layout import Layout
from include.stack.logins import print_logins
from include.stack.processes import PRIVATE
from include.stack.progress import PartsProgress
from include.stack.stack import Stack

_EPILOG = """\
settings (environment):
  LIFECYCLE_HOME          folder of all state, default ./var
  LIFECYCLE_AIRFLOW_PORT  default 8080
  LIFECYCLE_MLFLOW_PORT   default 5000
  LIFECYCLE_BIND          address to listen on, default 127.0.0.1
  any LIFECYCLE_* of docker/airflow.env; var/overrides.env wins over all
"""
# rich assumes 80 columns for a file or a pipe, and the tables need more
console = Console(width=None if sys.stdout.isatty() else 132)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m include.stack",
        description="The embedded stack: PostgreSQL, Airflow and MLflow on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run, help_text in (
        ("up", _up, "start what does not run and wait until all is healthy"),
        ("down", _down, "stop everything; what is stored stays"),
        ("status", _status, "what runs, where it listens, where its log is"),
        ("passwords", _passwords, "print the logins of Airflow and MLflow"),
        ("demo", _demo, "bootstrap, train, promote and backfill the flights use case"),
    ):
        commands.add_parser(name, help=help_text, description=help_text).set_defaults(run=run)
    shell = commands.add_parser("shell", help="a shell, or a command, in which `airflow` acts on this stack")
    shell.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND", help="default: your $SHELL")
    shell.set_defaults(run=_shell)
    options = parser.parse_args(arguments)
    # a shell, a demo and what they start write into the lake too
    os.umask(PRIVATE)
    try:
        return int(options.run(Layout.from_environ(), options))
    except LifecycleError as error:
        console.print(f"[bold red]{options.command} failed:[/] ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1


def _up(layout: Layout, options: argparse.Namespace) -> int:
    began = time.monotonic()
    with PartsProgress(console) as progress:
        created = Stack(layout, progress.report).up()
    seconds = time.monotonic() - began
    console.print(f"up in {seconds:.0f} s: Airflow {layout.airflow_url}, MLflow {layout.mlflow_url}")
    if created:
        print_logins(layout, console)
    else:
        console.print("logins: make passwords", style="dim")
    return 0


def _down(layout: Layout, options: argparse.Namespace) -> int:
    with PartsProgress(console) as progress:
        stopped = Stack(layout, progress.report).down()
    console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
    return 0


def _status(layout: Layout, options: argparse.Namespace) -> int:
    states = Stack(layout).status()
    table = Table("part", "state", "pid", "restarts", Column("log", overflow="fold"))
    for state in states:
        shown = "[green]healthy" if state.healthy else "[yellow]not healthy" if state.pid else "[red]down"
        table.add_row(state.name, shown, str(state.pid or ""), state.restarts, state.log)
    console.print(table)
    console.print(f"Airflow {layout.airflow_url}   MLflow {layout.mlflow_url}   state {layout.home}", soft_wrap=True)
    return 0 if all(state.healthy for state in states) else 1


def _passwords(layout: Layout, options: argparse.Namespace) -> int:
    Stack(layout).environ()
    print_logins(layout, console)
    return 0


def _shell(layout: Layout, options: argparse.Namespace) -> int:
    environ = Stack(layout).environ()
    command = [word for word in options.argv if word != "--"] or [environ.get("SHELL", "/bin/sh")]
    sys.stdout.flush()
    try:
        os.execvpe(command[0], command, environ)  # noqa: S606 - the user's own command, without a shell
    except OSError as error:
        console.print(f"[red]{command[0]}: {error.strerror}[/]")
        return 127


def _demo(layout: Layout, options: argparse.Namespace) -> int:
    from include.stack.demo import run_demo

    return run_demo(layout, console)


if __name__ == "__main__":
    sys.exit(main())
