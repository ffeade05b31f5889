"""Exactly what each place is asked for, and how a task waits for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import boto3
import botocore.client
import pytest
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from moto import mock_aws

from include.accelerators import tracking
from include.accelerators.settings import AcceleratorSettings
from include.core.errors import ConfError, SettingsError
from include.spec.accelerator import AcceleratorSpec
from include.steps.workspace import Workspace
from lifecycle.operators import remote
from lifecycle.operators.accelerator import AcceleratorOperator
from lifecycle.operators.remote import Job

REGION = "eu-west-1"
PLACES = {
    "LIFECYCLE_LAKE_ROOT": "s3://bucket/lake",
    "MLFLOW_TRACKING_URI": "http://mlflow.example:5000",
    "LIFECYCLE_LEASES": "leases",
    "LIFECYCLE_PRICES": '{"kubernetes": 2.0, "ml.g5.xlarge": 1.41}',
    "LIFECYCLE_KUBERNETES_IMAGE": "registry.example/lifecycle:1",
    "LIFECYCLE_KUBERNETES_NAMESPACE": "training",
    "LIFECYCLE_KUBERNETES_SECRET": "study-database",
    "LIFECYCLE_KUBERNETES_NODE_SELECTOR": '{"gpu": "a100"}',
    "LIFECYCLE_KUBERNETES_TOLERATIONS": '[{"key": "nvidia.com/gpu", "operator": "Exists", "tolerationSeconds": 60}]',
    "LIFECYCLE_KUBERNETES_LINK": "https://cluster.example/{namespace}/pods/{pod}",
    "LIFECYCLE_BATCH_JOB_QUEUE": "gpu-queue",
    "LIFECYCLE_BATCH_JOB_DEFINITION": "lifecycle-worker",
    "LIFECYCLE_SAGEMAKER_IMAGE": "1.dkr.ecr.example/lifecycle:1",
    "LIFECYCLE_SAGEMAKER_ROLE_ARN": "arn:aws:iam::123456789012:role/trainer",
    "LIFECYCLE_SAGEMAKER_INSTANCE_TYPE": "ml.g5.xlarge",
    "LIFECYCLE_SAGEMAKER_OUTPUT": "s3://bucket/sagemaker/",
    "LIFECYCLE_SAGEMAKER_SECRET": "lifecycle/worker",
    "LIFECYCLE_SAGEMAKER_SUBNETS": '["subnet-1"]',
    "LIFECYCLE_SAGEMAKER_SECURITY_GROUPS": '["sg-1"]',
}
NEEDS = AcceleratorSpec(vram_gb=20, cores=4, memory_gb=16, minutes=60)
NOTHING_RECORDED = {"schema_version": 1, "usage": None, "progress": None}
COMMAND = ("python", "-m", "include.accelerators.job", "--place", "x", "worker", "--trials", "4")
JOB = Job("search", ("flights_train", "search", "manual__2013-11-02T00:00:00", "1", "2"), COMMAND, NEEDS, {"A": "1"})


def settings() -> AcceleratorSettings:
    return AcceleratorSettings.from_environ(PLACES)


class Instance(SimpleNamespace):
    """A task instance that keeps what is pushed."""

    def __init__(self) -> None:
        super().__init__(
            id=UUID(int=1), dag_id="flights_train", task_id="search", run_id="manual__1", map_index=0, try_number=1
        )
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context() -> dict[str, Any]:
    instance = Instance()
    return {
        "ti": instance,
        "task_instance": instance,
        "run_id": instance.run_id,
        "dag": SimpleNamespace(),
        "params": {},
    }


@pytest.fixture
def deployment(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLACES.items():
        monkeypatch.setenv(name, value)
    # as when the server does not answer: the worker goes on without a record
    monkeypatch.setattr(tracking, "begin", lambda uri, *_: tracking.TrackedRun(uri))
    monkeypatch.setenv("LIFECYCLE_THREADS", "1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", f"aws://?region_name={REGION}")
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", "kubernetes://")


@pytest.fixture
def requests(deployment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Collect the requests to AWS, by operation; moto answers them."""
    asked: dict[str, Any] = {}
    call = botocore.client.BaseClient._make_api_call

    def listening(client: Any, operation: str, arguments: Any) -> Any:
        asked[operation] = json.loads(json.dumps(arguments, default=str))
        return call(client, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", listening)
    with mock_aws(config={"batch": {"use_docker": False}}):
        monkeypatch.setattr("airflow.providers.amazon.aws.hooks.sagemaker.time.sleep", lambda seconds: None)
        yield asked


def task(accelerator: str, **more: Any) -> AcceleratorOperator:
    return AcceleratorOperator(
        task_id="search", use_case="flights", module="include.training.study.worker", arguments=["--trials", 4],
        accelerator=accelerator, needs=more.pop("needs", NEEDS), **more,
    )  # fmt: skip


# ---- names ------------------------------------------------------------------------------------------


def test_names_are_valid_everywhere_and_differ_by_attempt() -> None:
    again = Job(JOB.task_id, (*JOB.attempt[:-1], "3"), COMMAND, NEEDS)
    assert len(JOB.name(63)) <= 63
    assert JOB.name(63).replace("-", "").isalnum()
    assert JOB.name(63) != again.name(63)
    assert JOB.worker == again.worker


# ---- kubernetes -------------------------------------------------------------------------------------


def pod_of(job: Job) -> dict[str, Any]:
    from kubernetes.client import ApiClient

    operator: Any = remote.kubernetes(job, settings())
    assert (operator.deferrable, operator.reattach_on_restart) == (True, True)
    pod = operator.build_pod_request_obj(context(), dry_run=True)
    found: dict[str, Any] = ApiClient().sanitize_for_serialization(pod)
    return found


def test_the_pod_asks_for_one_gpu_and_tolerates_its_nodes() -> None:
    pod = pod_of(JOB)
    assert pod["metadata"]["namespace"] == "training"
    assert pod["metadata"]["labels"]["run_id"] == "manual__1"
    spec = pod["spec"]
    assert spec["nodeSelector"] == {"gpu": "a100"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "tolerationSeconds": 60}]
    assert spec["activeDeadlineSeconds"] == 3600
    assert spec["restartPolicy"] == "Never"
    (container,) = spec["containers"]
    assert container["image"] == "registry.example/lifecycle:1"
    assert container["command"] == list(COMMAND)
    assert container["env"] == [{"name": "A", "value": "1"}]
    assert container["envFrom"] == [{"secretRef": {"name": "study-database"}}]
    wanted = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
    assert container["resources"] == {"limits": wanted, "requests": wanted}


def test_a_pod_without_gpu_asks_for_none() -> None:
    spec = pod_of(Job("search", JOB.attempt, COMMAND, AcceleratorSpec(gpu="none")))["spec"]
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]
    assert not spec.get("tolerations")


@pytest.mark.usefixtures("deployment")
def test_a_task_waits_for_its_pod_and_goes_on_with_the_provider_s_own_method(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    monkeypatch.setattr(KubernetesHook, "is_in_cluster", False)
    monkeypatch.setattr(
        KubernetesPodOperator, "get_or_create_pod", lambda self, pod_request_obj, context: pod_request_obj
    )
    about = context()
    with pytest.raises(TaskDeferred) as waiting:
        task("kubernetes").execute(about)
    assert type(waiting.value.trigger).__name__ == "KubernetesPodTrigger"
    assert waiting.value.method_name == "resume"
    pod = about["ti"].pushed["pod_name"]
    assert about["ti"].pushed["_link_remote_job"] == f"https://cluster.example/training/pods/{pod}"

    seen: dict[str, Any] = {}
    monkeypatch.setattr(KubernetesPodOperator, "trigger_reentry", lambda self, context, event: seen.update(event))
    done = task("kubernetes").resume(about, {"status": "success"}, **_stored(waiting.value.kwargs))
    assert seen == {"status": "success"}
    assert done == NOTHING_RECORDED


def _stored(kwargs: Any) -> Any:
    """As the database hands it back: plain JSON."""
    return json.loads(json.dumps(kwargs))


# ---- AWS Batch --------------------------------------------------------------------------------------


def batch_queue() -> None:
    ec2, iam, batch = (boto3.client(name, region_name=REGION) for name in ("ec2", "iam", "batch"))
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    role = iam.create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    environment = batch.create_compute_environment(
        computeEnvironmentName="gpus", type="UNMANAGED", state="ENABLED", serviceRole=role
    )["computeEnvironmentArn"]
    assert subnet
    batch.create_job_queue(
        jobQueueName="gpu-queue", state="ENABLED", priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
    )  # fmt: skip
    batch.register_job_definition(
        jobDefinitionName="lifecycle-worker", type="container",
        containerProperties={"image": "lifecycle", "vcpus": 1, "memory": 1024, "command": ["true"]},
    )  # fmt: skip


def test_batch_is_asked_for_the_command_its_resources_and_a_gpu(requests: dict[str, Any]) -> None:
    batch_queue()
    about = context()
    assert task("aws_batch").execute(about) == NOTHING_RECORDED  # moto's jobs are done at once
    assert about["ti"].pushed["_link_remote_job"].startswith(f"https://{REGION}.console.aws.amazon.com/batch/home")
    asked = requests["SubmitJob"]
    assert (asked["jobQueue"], asked["jobDefinition"]) == ("gpu-queue", "lifecycle-worker")
    assert asked["timeout"] == {"attemptDurationSeconds": 3600}
    assert asked["retryStrategy"] == {"attempts": 1}
    overrides = asked["containerOverrides"]
    assert overrides["resourceRequirements"] == [
        {"type": "VCPU", "value": "4"},
        {"type": "MEMORY", "value": "16384"},
        {"type": "GPU", "value": "1"},
    ]
    assert overrides["command"] == [
        "python", "-m", "include.accelerators.job", "--place", "aws_batch", "--experiment", "", "--run", "",
        "include.training.study.worker", "--trials", "4",
    ]  # fmt: skip
    told = {item["name"]: item["value"] for item in overrides["environment"]}
    assert told["LIFECYCLE_LAKE_ROOT"] == "s3://bucket/lake"
    assert "LIFECYCLE_OPTUNA_STORAGE" not in told  # it holds a password


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch jobs that have not ended yet."""
    from airflow.providers.amazon.aws.hooks.batch_client import BatchClientHook

    describe = BatchClientHook.get_job_description
    waiting = {"status": "RUNNABLE"}
    monkeypatch.setattr(BatchClientHook, "get_job_description", lambda self, job_id: describe(self, job_id) | waiting)


@pytest.mark.usefixtures("queued")
def test_a_task_waits_for_its_batch_job(requests: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    batch_queue()
    about = context()
    with pytest.raises(TaskDeferred) as waiting:
        task("aws_batch").execute(about)
    assert type(waiting.value.trigger).__name__ == "BatchJobTrigger"
    job_id = about["ti"].pushed["_link_remote_job"].rpartition("/")[2]
    failed = {"status": "error", "job_id": job_id}
    with pytest.raises(AirflowException, match="Error while running job"):
        task("aws_batch").resume(about, failed, **_stored(waiting.value.kwargs))
    monkeypatch.setattr("airflow.providers.amazon.aws.hooks.batch_client.BatchClientHook.check_job_success", _true)
    done = task("aws_batch").resume(about, {**failed, "status": "success"}, **_stored(waiting.value.kwargs))
    assert done == NOTHING_RECORDED


def _true(*_: object) -> bool:
    return True


@pytest.mark.usefixtures("queued")
def test_a_killed_task_ends_its_batch_job(requests: dict[str, Any]) -> None:
    batch_queue()
    killed = task("aws_batch")
    with pytest.raises(TaskDeferred):
        killed.execute(context())
    killed.on_kill()
    assert requests["TerminateJob"]["reason"] == "Task killed by the user"


# ---- SageMaker --------------------------------------------------------------------------------------


def test_sagemaker_is_asked_for_a_spot_instance_with_checkpoints(requests: dict[str, Any]) -> None:
    about = context()
    assert task("sagemaker").execute(about) == NOTHING_RECORDED  # moto's jobs are done at once
    asked = requests["CreateTrainingJob"]
    assert asked["RoleArn"] == "arn:aws:iam::123456789012:role/trainer"
    assert asked["AlgorithmSpecification"] == {
        "TrainingImage": "1.dkr.ecr.example/lifecycle:1",
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["python", "-m", "include.accelerators.job"],
        "ContainerArguments": [
            "--place", "sagemaker", "--experiment", "", "--run", "", "--price", "1.41", "--secret",
            "lifecycle/worker", "include.training.study.worker", "--trials", "4",
        ],
    }  # fmt: skip
    assert asked["ResourceConfig"] == {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50}
    assert asked["EnableManagedSpotTraining"] is True
    assert asked["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    assert asked["CheckpointConfig"]["S3Uri"].startswith("s3://bucket/sagemaker/checkpoints/flights-train-search")
    assert asked["Environment"]["LIFECYCLE_CHECKPOINTS"] == "/opt/ml/checkpoints"
    assert asked["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert about["ti"].pushed["_link_remote_job"].endswith(f"#/jobs/{asked['TrainingJobName']}")


def test_a_task_waits_for_its_training_job(requests: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook

    describe = SageMakerHook.describe_training_job
    busy = {
        "TrainingJobStatus": "InProgress",
        "SecondaryStatusTransitions": [{"Status": "Starting", "StatusMessage": ""}],
    }
    monkeypatch.setattr(SageMakerHook, "describe_training_job", lambda self, name: {**describe(self, name), **busy})
    about = context()
    with pytest.raises(TaskDeferred) as waiting:
        task("sagemaker").execute(about)
    assert type(waiting.value.trigger).__name__ == "SageMakerTrigger"
    monkeypatch.undo()
    name = requests["CreateTrainingJob"]["TrainingJobName"]
    assert about["ti"].pushed["_link_remote_job"].endswith(f"#/jobs/{name}")


# ---- what cannot be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "missing"),
    [
        ("kubernetes", ["LIFECYCLE_KUBERNETES_IMAGE", "LIFECYCLE_KUBERNETES_NAMESPACE"]),
        ("aws_batch", ["LIFECYCLE_BATCH_JOB_QUEUE", "LIFECYCLE_BATCH_JOB_DEFINITION", "LIFECYCLE_LAKE_ROOT"]),
        ("sagemaker", ["SAGEMAKER_IMAGE", "SAGEMAKER_ROLE_ARN", "SAGEMAKER_OUTPUT", "MLFLOW_TRACKING_URI"]),
    ],
)
def test_a_place_without_its_settings_names_all_of_them(workspace: Workspace, place: str, missing: list[str]) -> None:
    with pytest.raises(SettingsError) as fault:
        task(place).execute(context())
    assert all(name in str(fault.value) for name in missing)


def test_an_unknown_place_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfError, match="accelerator 'moon' unknown; give one of local"):
        task("moon").execute(context())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LIFECYCLE_ACCELERATOR", "cloud", "give one of local, kubernetes"),
        ("LIFECYCLE_CPU_SLOTS", "none", "LIFECYCLE_CPU_SLOTS is 'none'; give a number above 0"),
        ("LIFECYCLE_PRICES", "[1]", "LIFECYCLE_PRICES is"),
    ],
)
def test_malformed_settings_are_named(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        AcceleratorSettings.from_environ({**PLACES, name: value})


def test_every_setting_is_in_the_settings_file() -> None:
    from include.stack.envfile import parse_env

    text = Path("docker/airflow.env").read_text()
    known = set(parse_env(text, "airflow.env"))
    assert known >= {name for name in PLACES if name != "MLFLOW_TRACKING_URI"}
