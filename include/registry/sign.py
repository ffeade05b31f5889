"""Sign a registered version that has no signature that counts: one from before models were signed, for example.

``python -m include.registry.sign --use-case flights --model 3`` downloads the files, compares their digest and their
manifest with what MLflow shows, and signs. Nobody can know whether files and tags were changed together before; the
person who signs vouches for that. Settings come from the environment (``make sign``).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from include.core.errors import LifecycleError, SignatureRefused
from include.core.settings import Settings
from include.registry import keys, model_versions
from include.registry.model_versions import Version


def sign(settings: Settings, use_case: str, number: int) -> Version:
    """Compare a version's files with its tags, sign it, and return it.

    Raises:
        DigestMismatch: the files do not have the digest that MLflow shows.
        SignatureRefused: the files are of another use case or training set than MLflow shows.
        SettingsError: this process has no key to sign with.
    """
    from include.training.model import read_manifest, verify

    signer = keys.signer(settings)
    found = model_versions.version_info(settings.mlflow_tracking_uri, use_case, number)
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_versions.download(settings.mlflow_tracking_uri, found, Path(scratch))
        verify(folder, found.digest)
        manifest = read_manifest(folder)
    said = (manifest.use_case, manifest.training_set.fingerprint)
    shown = (use_case, found.tags.get("training_set_fingerprint"))
    if said != shown:
        raise SignatureRefused(
            f"{use_case} version {number}: its manifest says use case and training set {said}, MLflow shows {shown}; "
            "nothing was signed. Train again"
        )
    return model_versions.sign(settings.mlflow_tracking_uri, found, signer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m include.registry.sign", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--model", type=int, required=True, help="a registered model version")
    asked = parser.parse_args(arguments)
    try:
        settings = Settings.from_environ()
        signed = sign(settings, asked.use_case, asked.model)
    except LifecycleError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{signed.use_case} version {signed.number}: signed, digest {signed.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
