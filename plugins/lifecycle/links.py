"""Links from a task to what it made elsewhere. A task saves an address as soon as it knows one."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.sdk import BaseOperatorLink


class SavedLink(BaseOperatorLink):
    """An address that the task has saved; no address, no link."""

    key: ClassVar[str]

    @property
    def xcom_key(self) -> str:
        return self.key

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """What was saved: Airflow asks when the task has ended, and stores the answer under the same key."""
        from airflow.sdk.execution_time.xcom import XCom

        return str(XCom.get_value(key=self.key, ti_key=ti_key) or "")

    @classmethod
    def save(cls, context: Any, address: str) -> None:
        """Show the link from now on, also while the task runs or is deferred."""
        if address:
            context["ti"].xcom_push(key=cls.key, value=address)


class MlflowRunLink(SavedLink):
    """The worker's run in MLflow."""

    name = "MLflow run"
    key = "_link_mlflow_run"


class RemoteJobLink(SavedLink):
    """The pod, batch job or training job that runs the worker."""

    name = "Remote job"
    key = "_link_remote_job"


class TrainingRunLink(SavedLink):
    """The training that a monitor's request started."""

    name = "Training run"
    key = "_link_training_run"

    @classmethod
    def save_run(cls, context: Any, dag_id: str, run_id: str) -> None:
        """Link to a run of a DAG."""
        from airflow.utils.helpers import build_airflow_dagrun_url

        cls.save(context, build_airflow_dagrun_url(dag_id=dag_id, run_id=run_id))
