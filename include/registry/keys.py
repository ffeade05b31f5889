"""The keys of signed models: one private key signs, and each public key in a folder is trusted.

The private key lies in a file of its own, which MLflow's server, its database and its artifact store do not have.
A key's id is the first 16 hexadecimal digits of the SHA-256 of its 32 public bytes, and the name of its file in the
folder of trusted keys. A new key signs from then on; what the old one has signed stays valid as long as the old
public key stays in the folder.

With ``LIFECYCLE_SIGNING_COMMAND`` another program signs, for example AWS KMS: the command reads the statement on
standard input and prints the 64 bytes of the ed25519 signature in base64. ``LIFECYCLE_SIGNING_KEY`` then names the
PEM file of the public key.

``python -m include.registry.keys list`` shows the keys, ``rotate`` makes a new one that signs.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from include.core.errors import LifecycleError, SettingsError
from include.core.files import replace_text, write_private
from include.core.settings import KeySettings

_COMMAND_TIMEOUT_S = 60


@dataclass(frozen=True)
class Signer:
    """The key that signs: its public half, and the function that makes the 64 bytes of a signature."""

    public: Ed25519PublicKey
    sign: Callable[[bytes], bytes]

    @property
    def key(self) -> str:
        """Return the id of the key."""
        return id_of(self.public)


@dataclass(frozen=True)
class Trusted:
    """The public keys of one folder, by id."""

    folder: str
    keys: Mapping[str, Ed25519PublicKey]


def id_of(public: Ed25519PublicKey) -> str:
    """Return the id of a key."""
    return hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def is_valid(public: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` is that of ``message`` by this key."""
    try:
        public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def trusted(settings: KeySettings) -> Trusted:
    """Read the trusted keys; there may be none.

    Raises:
        SettingsError: the folder is not set, or one of its files is no such key or named by another id.
    """
    if not settings.trusted_keys:
        raise SettingsError(
            "LIFECYCLE_TRUSTED_KEYS is not set, so no model can be accepted; give the folder of the public keys"
        )
    found: dict[str, Ed25519PublicKey] = {}
    for path in sorted(Path(settings.trusted_keys).glob("*.pem")):
        public = _public_key(path)
        if path.stem != id_of(public):
            raise SettingsError(f"{path} holds the key {id_of(public)}; name it {id_of(public)}.pem, or delete it")
        found[path.stem] = public
    return Trusted(settings.trusted_keys, found)


def signer(settings: KeySettings) -> Signer:
    """Return the key that signs.

    Raises:
        SettingsError: no key is set, other users can read it, or its public key is not trusted.
    """
    if not settings.signing_key:
        raise SettingsError(
            "LIFECYCLE_SIGNING_KEY is not set, so this process cannot sign a model; only tasks, as children of the "
            "scheduler, and `make shell` have it"
        )
    path = Path(settings.signing_key)
    made = _by_command(settings, path) if settings.signing_command else _by_file(path)
    if made.key not in trusted(settings).keys:
        raise SettingsError(
            f"{path}: key {made.key} signs, and {settings.trusted_keys} has no {made.key}.pem, so nothing that it "
            "signs would be accepted; put its public key there, or if it is not trusted any more, run: make rotate-key"
        )
    return made


def ensure(settings: KeySettings) -> str | None:
    """Make the first key, unless there is one; return the id of the key that signs.

    With a signing command nothing is made, and the answer is None.

    Raises:
        SettingsError: other users can read the private key.
    """
    if settings.signing_command or not settings.signing_key:
        return None
    path = Path(settings.signing_key)
    return _by_file(path).key if path.exists() else rotate(settings)


def rotate(settings: KeySettings) -> str:
    """Make a new key that signs from now on, trust it, and return its id; the old private key is deleted.

    Raises:
        SettingsError: the settings name no file, or another program signs.
    """
    if settings.signing_command:
        raise SettingsError(
            "LIFECYCLE_SIGNING_COMMAND is set: make a new key where that program keeps it, put its public key into "
            "LIFECYCLE_TRUSTED_KEYS, and name it by LIFECYCLE_SIGNING_KEY"
        )
    if not settings.signing_key or not settings.trusted_keys:
        raise SettingsError("LIFECYCLE_SIGNING_KEY and LIFECYCLE_TRUSTED_KEYS must name a file and a folder")
    private = Ed25519PrivateKey.generate()
    public = private.public_key()
    folder = Path(settings.trusted_keys)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # trusted first: from the moment at which the new key signs, its signatures are accepted
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    replace_text(folder / f"{id_of(public)}.pem", pem.decode())
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(Path(settings.signing_key), secret.decode())
    return id_of(public)


def _by_file(path: Path) -> Signer:
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} can be read by other users; run: chmod 600 {path}")
        private = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(f"{path}, which LIFECYCLE_SIGNING_KEY names, cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"{path} is not the PEM file of a private key without password ({error})") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(f"{path} holds a key of another kind than ed25519; make one: make rotate-key")
    return Signer(private.public_key(), private.sign)


def _by_command(settings: KeySettings, path: Path) -> Signer:
    public = _public_key(path)
    command = settings.signing_command

    def sign(message: bytes) -> bytes:
        try:
            # no shell: the setting is split into words as a shell would
            done = subprocess.run(
                shlex.split(command), input=message, capture_output=True, timeout=_COMMAND_TIMEOUT_S, check=True
            )
            signature = base64.b64decode(done.stdout.strip(), validate=True)
        except subprocess.CalledProcessError as error:
            why = error.stderr.decode(errors="replace").strip()[-500:]
            raise LifecycleError(f"LIFECYCLE_SIGNING_COMMAND ended with status {error.returncode}: {why}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LifecycleError(f"LIFECYCLE_SIGNING_COMMAND did not sign: {error}") from error
        except binascii.Error as error:
            raise SettingsError("LIFECYCLE_SIGNING_COMMAND printed no base64; it must print the signature") from error
        if not is_valid(public, signature, message):
            raise SettingsError(
                f"LIFECYCLE_SIGNING_COMMAND printed no ed25519 signature by the key {id_of(public)} of {path}; "
                "compare the key that it uses with the public key in that file"
            )
        return signature

    return Signer(public, sign)


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        public = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"{path} is not the PEM file of a public key ({error})") from error
    if not isinstance(public, Ed25519PublicKey):
        raise SettingsError(f"{path} holds a key of another kind than ed25519; delete it")
    return public


def _list(settings: KeySettings) -> None:
    """Print the trusted keys, also where the key that signs has a fault, which is raised afterwards."""
    signs, fault = None, None
    try:
        signs = signer(settings).key if settings.signing_key else None
    except LifecycleError as error:
        fault = error
    for key in trusted(settings).keys:
        print(f"{key}  {'signs' if key == signs else 'trusted'}  {settings.trusted_keys}/{key}.pem")
    if fault is not None:
        raise fault


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m include.registry.keys", description="The keys of signed models.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the trusted keys, and which of them signs")
    commands.add_parser("rotate", help="make a new key that signs from now on; what the old ones signed stays valid")
    asked = parser.parse_args(arguments)
    try:
        settings = KeySettings.read()
        if asked.command == "rotate":
            print(f"{rotate(settings)} signs from now on")
        else:
            _list(settings)
    except LifecycleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
