"""Links from a task to pages of other systems. A task saves an address as soon as it knows one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperatorLink

from lifecycle import airflow_private

if TYPE_CHECKING:
    from airflow.sdk import Context


class SavedLink(BaseOperatorLink):
    """A link to an address that the task has saved; without an address there is no link."""

    key: ClassVar[str]

    @property
    def xcom_key(self) -> str:
        """Return the key of the XCom that holds the address."""
        return self.key

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the saved address; Airflow asks when the task has ended, and stores the answer under the same key."""
        return str(airflow_private.read_xcom(self.key, ti_key) or "")

    @classmethod
    def save(cls, context: Context, address: str) -> None:
        """Save ``address``: the link is shown from now on, also while the task runs or is deferred."""
        if address:
            context["ti"].xcom_push(key=cls.key, value=address)


class MlflowRunLink(SavedLink):
    """The link to the worker's MLflow run."""

    name = "MLflow run"
    key = "_link_mlflow_run"


class RemoteJobLink(SavedLink):
    """The link to the pod, batch job or training job that runs the worker."""

    name = "Remote job"
    key = "_link_remote_job"


class TrainingRunLink(SavedLink):
    """The link to the training that a monitor's request started."""

    name = "Training run"
    key = "_link_training_run"

    @classmethod
    def save_run(cls, context: Context, dag_id: str, run_id: str) -> None:
        """Save the address of a DAG run."""
        cls.save(context, airflow_private.dag_run_address(dag_id, run_id))
