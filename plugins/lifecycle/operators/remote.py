"""Build the provider's operator that runs one job away from this machine.

Nothing is submitted here. Three functions, one a place, hold everything that the places are asked for.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from include.spec.accelerator import AcceleratorSpec, Place

if TYPE_CHECKING:
    from include.steps.workers import AcceleratorSettings

GPU_RESOURCE = "nvidia.com/gpu"
CHECKPOINTS = "/opt/ml/checkpoints"  # SageMaker copies this folder to S3 and back
_POLL_SECONDS = 30
_DOMAINS = {"aws-cn": "amazonaws.cn", "aws-us-gov": "amazonaws-us-gov.com"}
# addresses and limits that are no secrets; settings with a password come from the place's own secret store
_FORWARDED = (
    "LIFECYCLE_LAKE_ROOT", "LIFECYCLE_THREADS", "LIFECYCLE_MEMORY_LIMIT", "LIFECYCLE_CODE_VERSION",
    "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION",
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One worker to run elsewhere.

    Attributes:
        task_id: the task it belongs to.
        attempt: DAG, task, DAG run, mapped index and number of the attempt; the job's name is made of them.
        command: command of the container, from ``python`` on.
        needs: what it needs of its machine.
        environ: its environment variables, no secrets.
    """

    task_id: str
    attempt: tuple[str, ...]
    command: tuple[str, ...]
    needs: AcceleratorSpec
    environ: dict[str, str] = field(default_factory=dict)

    def name(self, longest: int) -> str:
        """Return a name for this attempt and no other."""
        return job_name(longest, *self.attempt)

    @property
    def worker(self) -> str:
        """Return a name for this worker, the same for all its attempts."""
        return job_name(63, *self.attempt[:-1])

    @property
    def wants_gpu(self) -> bool:
        """Return whether the worker may use a GPU."""
        return self.needs.gpu != "none"


def job_name(longest: int, *parts: str) -> str:
    """Join ``parts`` to a name of letters, digits and hyphens; a digest tells shortened names apart."""
    digest = hashlib.sha256("/".join(parts).encode()).hexdigest()[:8]
    readable = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    return f"{readable[: longest - 9].strip('-')}-{digest}"


def forwarded_environ() -> dict[str, str]:
    """Return this deployment's settings that a worker elsewhere gets as environment variables."""
    return {name: value for name in _FORWARDED if (value := os.environ.get(name))}


def operator(place: Place, job: Job, settings: AcceleratorSettings) -> BaseOperator:
    """Return the operator that runs ``job`` at ``place``, deferred while it waits."""
    return {"kubernetes": kubernetes, "aws_batch": aws_batch, "sagemaker": sagemaker}[place](job, settings)


def kubernetes(job: Job, settings: AcceleratorSettings) -> BaseOperator:
    """Return the operator of a pod, which a retry finds again, and which success and a kill of the task delete."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from kubernetes.client import models as k8s

    limits = {"cpu": str(job.needs.cores), "memory": f"{job.needs.memory_gb}Gi"}
    tolerations: list[dict[str, Any]] = []
    if job.wants_gpu:
        limits[GPU_RESOURCE] = "1"
        tolerations = settings.json_value("KUBERNETES_TOLERATIONS", [])
    secret = settings.values.get("KUBERNETES_SECRET")
    return KubernetesPodOperator(
        task_id=job.task_id,
        name=job.name(50),
        namespace=settings.values["KUBERNETES_NAMESPACE"],
        image=settings.values["KUBERNETES_IMAGE"],
        cmds=list(job.command),
        env_vars=job.environ,
        env_from=[k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=secret))] if secret else [],
        container_resources=k8s.V1ResourceRequirements(limits=limits, requests=limits),
        node_selector=settings.json_value("KUBERNETES_NODE_SELECTOR", {}),
        tolerations=[k8s.V1Toleration(**_snake(toleration)) for toleration in tolerations],
        service_account_name=settings.values.get("KUBERNETES_SERVICE_ACCOUNT"),
        kubernetes_conn_id=settings.values.get("KUBERNETES_CONN_ID", "kubernetes_default"),
        # a node with a GPU may have to be started first, and a large image pulled
        startup_timeout_seconds=1800,
        active_deadline_seconds=job.needs.minutes * 60,
        on_finish_action="delete_succeeded_pod",
        get_logs=True,
        deferrable=True,
        poll_interval=_POLL_SECONDS,
        durable=True,
    )


def aws_batch(job: Job, settings: AcceleratorSettings) -> BaseOperator:
    """Return the operator of a Batch job; its definition has image, roles and secrets, the rest is set here."""
    from airflow.providers.amazon.aws.operators.batch import BatchOperator

    resources = [
        {"type": "VCPU", "value": str(job.needs.cores)},
        {"type": "MEMORY", "value": str(job.needs.memory_gb * 1024)},
    ]
    if job.wants_gpu:
        resources.append({"type": "GPU", "value": "1"})
    return BatchOperator(
        task_id=job.task_id,
        job_name=job.name(128),
        job_queue=settings.values["BATCH_JOB_QUEUE"],
        job_definition=settings.values["BATCH_JOB_DEFINITION"],
        container_overrides={
            "command": list(job.command),
            "environment": [{"name": name, "value": value} for name, value in sorted(job.environ.items())],
            "resourceRequirements": resources,
        },
        # Airflow retries, with a new record for each attempt; the study hands out lost trials itself
        retry_strategy={"attempts": 1},
        submit_job_timeout=job.needs.minutes * 60,
        max_retries=_polls(job),
        poll_interval=_POLL_SECONDS,
        awslogs_enabled=True,
        deferrable=True,
        aws_conn_id=settings.values.get("AWS_CONN_ID", "aws_default"),
    )


def sagemaker(job: Job, settings: AcceleratorSettings) -> BaseOperator:
    """Return the operator of a training job on one instance, by default a spot one, with checkpoints in S3."""
    from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator

    values, seconds = settings.values, job.needs.minutes * 60
    output, spot = values["SAGEMAKER_OUTPUT"].rstrip("/"), values.get("SAGEMAKER_SPOT", "true").lower() != "false"
    stop = {"MaxRuntimeInSeconds": seconds}
    if spot:
        # the time spent waiting for capacity counts as well
        stop["MaxWaitTimeInSeconds"] = 2 * seconds
    config: dict[str, Any] = {
        "TrainingJobName": job.name(63),
        "RoleArn": values["SAGEMAKER_ROLE_ARN"],
        "AlgorithmSpecification": {
            "TrainingImage": values["SAGEMAKER_IMAGE"],
            "TrainingInputMode": "File",
            "ContainerEntrypoint": list(job.command[:3]),
            "ContainerArguments": list(job.command[3:]),
        },
        "ResourceConfig": {
            "InstanceType": values["SAGEMAKER_INSTANCE_TYPE"],
            "InstanceCount": 1,
            "VolumeSizeInGB": 50,
        },
        "OutputDataConfig": {"S3OutputPath": f"{output}/output"},
        # named by the worker, not by the attempt: a retry continues from the checkpoints of an interrupted attempt
        "CheckpointConfig": {"S3Uri": f"{output}/checkpoints/{job.worker}", "LocalPath": CHECKPOINTS},
        "StoppingCondition": stop,
        "EnableManagedSpotTraining": spot,
        "Environment": {**job.environ, "LIFECYCLE_CHECKPOINTS": CHECKPOINTS},
    }
    subnets, groups = (settings.json_value(f"SAGEMAKER_{name}", []) for name in ("SUBNETS", "SECURITY_GROUPS"))
    if subnets:
        config["VpcConfig"] = {"Subnets": subnets, "SecurityGroupIds": groups}
    return SageMakerTrainingOperator(
        task_id=job.task_id,
        config=config,
        check_interval=_POLL_SECONDS,
        max_attempts=2 * _polls(job),
        deferrable=True,
        aws_conn_id=settings.values.get("AWS_CONN_ID", "aws_default"),
    )


def link(place: Place, delegate: Any, settings: AcceleratorSettings) -> str:
    """Return the address of the page of the job that ``delegate`` has submitted; empty if it is not known."""
    if place == "kubernetes":
        made = delegate.pod.metadata if delegate.pod else None
        template = settings.values.get("KUBERNETES_LINK", "")
        return template.replace("{namespace}", made.namespace).replace("{pod}", made.name) if made else ""
    region = delegate.hook.conn_region_name
    console = f"https://{region}.console.{_DOMAINS.get(delegate.hook.conn_partition, 'aws.amazon.com')}"
    if place == "aws_batch":
        return f"{console}/batch/home?region={region}#jobs/detail/{delegate.job_id}" if delegate.job_id else ""
    return f"{console}/sagemaker/home?region={region}#/jobs/{delegate.config['TrainingJobName']}"


def _polls(job: Job) -> int:
    """Return the number of polls that covers the job's time limit plus one hour of queueing."""
    return (job.needs.minutes + 60) * 60 // _POLL_SECONDS


def _snake(values: dict[str, Any]) -> dict[str, Any]:
    """Rename Kubernetes' fields as its Python client spells them."""
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): value for name, value in values.items()}
