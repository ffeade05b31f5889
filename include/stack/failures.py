"""The explanation of a failed DAG run: task, end of the log, log file and page."""

from __future__ import annotations

from pathlib import Path

from include.stack.api import AirflowApi, Json
from include.stack.layout import Layout

_LINES_SHOWN = 20


def explain_failure(api: AirflowApi, layout: Layout, run: Json) -> str:
    """Describe the first failed task of a failed DAG run: the end of its log, its log file and its page in the UI."""
    dag_id, run_id = str(run["dag_id"]), str(run["dag_run_id"])
    page = f"{layout.airflow_url}/dags/{dag_id}/runs/{run_id}"
    failed = [task for task in api.task_instances(dag_id, run_id) if task["state"] == "failed"]
    if not failed:
        return f"{dag_id} {run_id} failed without a failed task; see {page}"
    task = min(failed, key=lambda task: str(task["end_date"]))
    task_id, attempt, index = str(task["task_id"]), int(task["try_number"]), int(task["map_index"])
    key = f" for {run['partition_key']}" if run.get("partition_key") else ""
    lines = [line for line in api.log(dag_id, run_id, task_id, attempt, index) if "group::" not in line]
    end = "\n".join(lines[-_LINES_SHOWN:])
    return (
        f"task {task_id} of {dag_id}{key} failed at try {attempt}; the end of its log:\n{end}\n"
        f"all of it: {_log_folder(layout, run, task) / f'attempt={attempt}.log'}\n"
        f"in the UI: {page}/tasks/{task_id}"
    )


def _log_folder(layout: Layout, run: Json, task: Json) -> Path:
    folder = layout.logs / "tasks" / f"dag_id={run['dag_id']}" / f"run_id={run['dag_run_id']}"
    folder /= f"task_id={task['task_id']}"
    return folder / f"map_index={task['map_index']}" if int(task["map_index"]) >= 0 else folder
