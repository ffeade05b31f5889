"""The table of generated logins, printed on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from include.stack.layout import Layout
from include.stack.secrets import load_or_create_secrets


def print_logins(layout: Layout, console: Console) -> None:
    """Print the logins of Airflow and MLflow, and the file that holds them."""
    known, _ = load_or_create_secrets(layout.secrets_file)
    table = Table("where", "user", "password", title="logins", title_justify="left")
    table.add_row(f"Airflow {layout.airflow_url}", "admin", known["LIFECYCLE_ADMIN_PASSWORD"])
    table.add_row("", "viewer (looks only)", known["LIFECYCLE_VIEWER_PASSWORD"])
    table.add_row(f"MLflow {layout.mlflow_url}", "admin", known["MLFLOW_TRACKING_PASSWORD"])
    console.print(table)
    console.print(f"kept in {layout.secrets_file}; again: make passwords", highlight=False, soft_wrap=True)
