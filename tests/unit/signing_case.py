"""Keys of signed models for the tests: a seed names a key, so that all processes of a test run share it."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from include.core.files import write_private
from include.core.settings import KeySettings
from include.registry import keys
from include.registry.keys import Signer, Trusted


def key_settings(folder: Path, *seeds: int) -> dict[str, str]:
    """Write keys into ``folder`` and return their settings: every one is trusted, the last one signs."""
    trusted = folder / "trusted"
    trusted.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        public = private.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (trusted / f"{keys.id_of(public)}.pem").write_bytes(pem)
        secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(folder / "signing.pem", secret.decode())
    return {"signing_key": str(folder / "signing.pem"), "trusted_keys": str(trusted)}


@functools.cache
def shared() -> dict[str, str]:
    """Return the settings of the key of seed 1, in a folder of this process."""
    folder = Path(tempfile.mkdtemp(prefix="keys-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return key_settings(folder, 1)


def signer() -> Signer:
    return keys.signer(KeySettings(**shared()))


def trusted() -> Trusted:
    return keys.trusted(KeySettings(**shared()))
