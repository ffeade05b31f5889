"""Model versions in MLflow: registered and signed once, fetched by a verified signature, nothing pickled.

Experiment and registered model have the name of the use case. A registration has a key, a hash of training set,
study, seed and model digest, as a tag on its MLflow run, its logged model and its version. An attempt that finds
this tag continues there, so no repetition makes a second version.

The tag ``signed`` holds the signed statement of the version (``signatures``), which repeats the digest of the files and
the tags that code relies on. A version without a valid one is foreign: nothing is loaded from it, and a search for
versions passes it over. Every call uses a client of an explicit address and leaves MLflow's process-wide state alone.
User and password of a server with basic auth come from ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from include.core import fault_points
from include.core.errors import LifecycleError, NoChampion, SignatureRefused
from include.registry import signatures
from include.registry.keys import Signer, Trusted
from include.registry.registration import CHAMPION, KEY, MODEL_NAME, Challenger, MlflowRun

if TYPE_CHECKING:
    from include.promotion.ledger import Promotion

_log = logging.getLogger(__name__)
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")


@dataclass(frozen=True)
class Version:
    """A registered model version.

    Attributes:
        number: version in the registry, from 1.
        digest: SHA-256 over the model's files, compared by ``fetch``.
        trained_through: last partition whose labels the model has seen.
        run_id: MLflow run with its evidence.
        tags: all tags of the version; of a verified version those in ``signatures.COVERED`` are the signed ones.
    """

    use_case: str
    number: int
    digest: str
    trained_through: str
    run_id: str
    tags: Mapping[str, str]


def register(tracking_uri: str, challenger: Challenger, signer: Signer) -> Version:
    """Record a challenger with its evidence and make it a signed version; continue an unfinished attempt.

    What is signed is the challenger, not what MLflow answers about it.

    Two callers at once would register two versions: ``registering.register`` lets callers take turns by a lock.

    Raises:
        DigestMismatch: the model's files do not have its digest.
        LifecycleError: MLflow refused or could not be reached.
    """
    from include.training.model import verify

    verify(challenger.model_dir, challenger.digest)
    client = MlflowClient(tracking_uri)
    try:
        known = _with_key(client, challenger.use_case, challenger.key)
        if known is not None:
            signed = _sign(client, known, challenger.tags, signer)
            MlflowRun.close(client, known.run_id, known.number)
            return signed
        run = MlflowRun.open(client, challenger)
        fault_points.reached("register.run_created")
        run.log_evidence()
        fault_points.reached("register.evidence_logged")
        model = run.log_model()
        fault_points.reached("register.model_logged")
        created = _create_version(client, challenger, run.run_id, model)
        fault_points.reached("register.version_created")
        version = _sign(client, created, challenger.tags, signer)
        MlflowRun.close(client, run.run_id, version.number)
    except MlflowException as error:
        raise LifecycleError(
            f"{challenger.use_case}: MLflow at {tracking_uri} could not register the model ({error}); "
            f"run the registration again, it continues where it stopped"
        ) from error
    return version


def fetch(
    tracking_uri: str, use_case: str, number: int, cache: Path, trusted: Trusted, entry: Promotion | None = None
) -> Path:
    """Verify a version, download its files once into ``cache``, compare their digest, and return their folder.

    Raises:
        SignatureRefused: see :func:`verified`.
        DigestMismatch: the files do not have the signed digest.
        LifecycleError: the version does not exist or its files are gone.
    """
    from include.training.model import verify

    version = verified(tracking_uri, use_case, number, trusted, entry)
    folder = cache / version.digest
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as scratch:
            arrived = download(tracking_uri, version, Path(scratch))
            verify(arrived, version.digest)
            try:
                arrived.rename(folder)
            except OSError:
                # another task was faster; its folder passed the same check
                if not folder.exists():
                    raise
    # checked at every use: other processes may have written to the cache since it was filled
    verify(folder, version.digest)
    return folder


def verified(
    tracking_uri: str, use_case: str, number: int, trusted: Trusted, entry: Promotion | None = None
) -> Version:
    """Read the record of one version and verify its signature; ``entry`` is the ledger's entry that promoted it.

    Raises:
        SignatureRefused: a trusted key has not signed it for this name, number and tags, or the ledger names another.
        LifecycleError: there is no such version.
    """
    try:
        found = version_info(tracking_uri, use_case, number)
    except SignatureRefused:
        raise
    except LifecycleError as error:
        if entry is None:
            raise
        raise LifecycleError(
            f"{error}. Entry {entry.entry} of the ledger promoted it: bring MLflow's database and files back from a "
            "backup. If they are lost, move the table ledger/promotions of the use case away, train, and promote anew"
        ) from error
    signatures.verify(use_case, number, found.tags, trusted, entry)
    return found


def version_info(tracking_uri: str, use_case: str, number: int) -> Version:
    """Read the record of one version as MLflow shows it, without a look at its signature.

    Raises:
        SignatureRefused: it was not registered by this project.
        LifecycleError: there is no such version.
    """
    client = MlflowClient(tracking_uri)
    try:
        return _version(client.get_model_version(use_case, str(number)))
    except MlflowException as error:
        if error.error_code not in _MISSING:
            raise LifecycleError(f"{use_case}: MLflow at {tracking_uri} did not answer ({error})") from error
        raise LifecycleError(
            f"{use_case}: version {number} is not registered; the MLflow UI lists the versions there are"
        ) from error


def newest(tracking_uri: str, use_case: str, trusted: Trusted) -> int:
    """Return the number of the version that was registered last; foreign versions are passed over, with a warning.

    Raises:
        LifecycleError: no version with a valid signature is registered, or MLflow did not answer.
    """
    try:
        found = MlflowClient(tracking_uri).search_model_versions(f"name = '{use_case}'")
    except MlflowException as error:
        raise LifecycleError(f"{use_case}: MLflow at {tracking_uri} did not answer ({error})") from error
    refusals: list[str] = []
    for version in sorted(found, key=lambda version: int(version.version), reverse=True):
        try:
            signatures.verify(use_case, int(version.version), version.tags, trusted)
        except SignatureRefused as refusal:
            refusals.append(str(refusal))
            _log.warning("passed over: %s", refusal)
            continue
        return int(version.version)
    if refusals:
        raise LifecycleError(f"{use_case} has no version that may be used. The newest: {refusals[0]}")
    raise LifecycleError(f"{use_case} has no registered version; run {use_case}_train first")


def sign(tracking_uri: str, version: Version, signer: Signer) -> Version:
    """Sign a version as MLflow shows it; the caller has compared it with its files.

    Raises:
        LifecycleError: MLflow did not answer.
    """
    try:
        return _sign(MlflowClient(tracking_uri), version, {**version.tags, "use_case": version.use_case}, signer)
    except MlflowException as error:
        raise LifecycleError(f"{version.use_case}: MLflow at {tracking_uri} did not answer ({error})") from error


def champion(tracking_uri: str, use_case: str) -> Version:
    """Return the version with the alias ``champion`` now; an alias has no history, the ledger has.

    Raises:
        NoChampion: no version has the alias.
    """
    client = MlflowClient(tracking_uri)
    try:
        # search results may come with empty aliases; only this call resolves one
        return _version(client.get_model_version_by_alias(use_case, CHAMPION))
    except MlflowException as error:
        # an unknown alias is INVALID_PARAMETER_VALUE, an unknown model RESOURCE_DOES_NOT_EXIST
        if error.error_code not in (*_MISSING, "INVALID_PARAMETER_VALUE"):
            raise LifecycleError(f"{use_case}: MLflow at {tracking_uri} did not answer ({error})") from error
        raise NoChampion(f"{use_case} has no champion; run {use_case}_train and {use_case}_promote") from error


def set_alias_champion(tracking_uri: str, use_case: str, number: int) -> None:
    """Show ``number`` as the champion in MLflow. The ledger decides; this alias follows it."""
    client = MlflowClient(tracking_uri)
    version_info(tracking_uri, use_case, number)
    client.set_registered_model_alias(use_case, CHAMPION, str(number))


def _create_version(client: MlflowClient, challenger: Challenger, run_id: str, model: LoggedModel) -> Version:
    try:
        client.create_registered_model(challenger.use_case)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    try:
        client.create_model_version(
            challenger.use_case,
            # not models:/<id>: a local store would look that up in MLflow's process-wide store
            source=model.artifact_location,
            run_id=run_id,
            tags=challenger.tags,
            model_id=model.model_id,
        )
    except MlflowException:
        # the error may come after the server has committed
        if not _all_with_key(client, challenger.use_case, challenger.key):
            raise
    created, *repeated = _all_with_key(client, challenger.use_case, challenger.key)
    for one in repeated:
        # MLflow's client asks again when an answer is lost: the server has created two
        _delete(client, one)
    return created


def _delete(client: MlflowClient, version: Version) -> None:
    try:
        client.delete_model_version(version.use_case, str(version.number))
    except MlflowException as error:
        # the answer to the first request was lost
        if error.error_code not in _MISSING:
            raise


def _sign(client: MlflowClient, version: Version, tags: Mapping[str, str], signer: Signer) -> Version:
    """Store the signed statement of a version; what it repeats is taken from ``tags``."""
    signed = signatures.sign(tags, version.number, signer)
    if version.tags.get(signatures.SIGNED) != signed:
        client.set_model_version_tag(version.use_case, str(version.number), signatures.SIGNED, signed)
    return replace(version, tags={**version.tags, signatures.SIGNED: signed})


def _with_key(client: MlflowClient, use_case: str, key: str) -> Version | None:
    return next(iter(_all_with_key(client, use_case, key)), None)


def _all_with_key(client: MlflowClient, use_case: str, key: str) -> list[Version]:
    found = client.search_model_versions(f"name = '{use_case}' and tags.{KEY} = '{key}'")
    # anybody may have copied the tag to a version by hand
    ours = [version for version in found if not _lacks(version)]
    return sorted(map(_version, ours), key=lambda version: version.number)


def _lacks(found: ModelVersion) -> list[str]:
    return [name for name in ("digest", "trained_through") if name not in found.tags]


def _version(found: ModelVersion) -> Version:
    tags = dict(found.tags)
    missing = _lacks(found)
    if missing:
        raise SignatureRefused(
            f"{found.name} version {found.version} lacks the tag {' and '.join(missing)}: it was not "
            f"registered by this project and cannot be used; register the model by training it"
        )
    return Version(
        use_case=found.name,
        number=int(found.version),
        digest=tags["digest"],
        trained_through=tags["trained_through"],
        run_id=found.run_id or "",
        tags=tags,
    )


def download(tracking_uri: str, version: Version, scratch: Path) -> Path:
    """Download the files of a version into ``scratch``, and return their folder; nothing about them is verified.

    Raises:
        LifecycleError: they are gone, or no model of this project.
    """
    from mlflow.artifacts import download_artifacts

    client = MlflowClient(tracking_uri)
    where = f"{version.use_case} version {version.number}"
    try:
        # not models:/<name>/<version>: MLflow would look that up in its process-wide store
        uri = client.get_model_version_download_uri(version.use_case, str(version.number))
        root = Path(download_artifacts(artifact_uri=uri, dst_path=str(scratch), tracking_uri=tracking_uri))
    except (MlflowException, OSError) as error:
        raise LifecycleError(f"{where}: its files cannot be read from MLflow ({error})") from error
    folder = root / "data" / MODEL_NAME
    if not folder.is_dir():
        raise LifecycleError(f"{where} holds no folder data/{MODEL_NAME}; it was not registered by this project")
    return folder
