"""The signed statement of a model version: which files, trained on what, may be used under which name and number.

A signed statement is one line: the ed25519 signature in base64, a space, and the statement as canonical JSON. It
stands in the tag ``signed`` of the version in MLflow, and in the ledger's entry of each promotion.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.core.errors import SignatureRefused
from include.registry.keys import Signer, Trusted, is_valid

if TYPE_CHECKING:
    from include.promotion.ledger import Promotion

SIGNED = "signed"
"""Tag of a version in MLflow that holds its signed statement."""


class Statement(BaseModel):
    """What a signature says about one model version.

    Attributes:
        format: version of this form; it also tells the statement from other texts that the same key may sign.
        use_case, version: name and number of the registered version.
        digest: SHA-256 over the model's files.
        trained_through: last partition whose labels the model has seen.
        as_of, training_set_version, training_set_fingerprint: the frozen training set.
        key: id of the key that signs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["lifecycle model version, 1"] = "lifecycle model version, 1"
    use_case: str
    version: int
    # the digest becomes the name of a folder
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    trained_through: str
    as_of: str
    training_set_version: str
    training_set_fingerprint: str
    key: str

    @property
    def canonical(self) -> str:
        """Return the text that is signed: JSON with sorted keys, no spaces, ASCII only."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))

    @property
    def substance(self) -> dict[str, object]:
        """Return all that is said, without the key: signing the same again by another key changes only that."""
        return self.model_dump(exclude={"key"})


COVERED = tuple(name for name in Statement.model_fields if name not in ("format", "version", "key"))
"""The tags of a version that its statement repeats."""


def sign(tags: Mapping[str, str], number: int, signer: Signer) -> str:
    """Return the signed statement of version ``number``, which has ``tags``."""
    said = {name: tags.get(name, "") for name in COVERED}
    statement = Statement.model_validate({**said, "version": number, "key": signer.key})
    signature = signer.sign(statement.canonical.encode())
    return f"{base64.b64encode(signature).decode()} {statement.canonical}"


def verify(
    use_case: str, number: int, tags: Mapping[str, str], trusted: Trusted, entry: Promotion | None = None
) -> Statement:
    """Verify a version as MLflow shows it: signed by a trusted key, for this name, number and tags.

    Args:
        use_case, number, tags: the version, as it was found.
        trusted: the keys whose signatures count.
        entry: the ledger's entry that made the version champion, if there is one; the version must be that one.

    Raises:
        SignatureRefused: anything else; says what differs and what to do.
    """
    where = f"{use_case} version {number}"
    statement = _read(where, use_case, number, tags.get(SIGNED, ""), trusted)
    found = {**{name: tags.get(name, "") for name in COVERED}, "use_case": use_case, "version": number}
    differs = [name for name, value in found.items() if getattr(statement, name) != value]
    if differs:
        said = ", ".join(f"{name} {getattr(statement, name)!r}" for name in differs)
        shown = ", ".join(f"{name} {found[name]!r}" for name in differs)
        raise SignatureRefused(
            f"{where}: its signature is for {said}, and MLflow shows {shown}: somebody changed the version in MLflow. "
            "Find out who can write there, and bring MLflow's database and files back from a backup, or train again"
        )
    if entry is not None:
        _is_of_entry(where, statement, entry)
    return statement


def _read(where: str, use_case: str, number: int, signed: str, trusted: Trusted) -> Statement:
    """Return the statement of ``signed`` if a trusted key has signed it."""
    again = f"train again, or, if you know where its files come from, sign it: make sign CASE={use_case} MODEL={number}"
    if not signed:
        raise SignatureRefused(
            f"{where} has no signature: it was registered by hand, or before models were signed; {again}"
        )
    signature, _, text = signed.partition(" ")
    try:
        statement = Statement.model_validate_json(text)
        raw = base64.b64decode(signature, validate=True)
    except (ValidationError, binascii.Error) as error:
        raise SignatureRefused(
            f"{where}: its tag {SIGNED} holds no signed statement of a form that this release knows; {again}"
        ) from error
    public = trusted.keys.get(statement.key)
    if public is None:
        raise SignatureRefused(
            f"{where} is signed by the key {statement.key}, which {trusted.folder} does not hold: the key is not "
            f"trusted any more, or it belongs to another deployment; {again}"
        )
    if not is_valid(public, raw, text.encode()):
        raise SignatureRefused(
            f"{where}: its statement was changed after the key {statement.key} signed it, so nothing in it counts. "
            f"Find out who can write to MLflow, and bring its database back from a backup; or {again}"
        )
    return statement


def _is_of_entry(where: str, statement: Statement, entry: Promotion) -> None:
    """Check that a version is the one that the ledger's entry promoted."""
    if entry.signed:
        # the ledger is in the lake, which is trusted; a version that was signed again keeps its substance
        try:
            named = Statement.model_validate_json(entry.signed.partition(" ")[2])
        except ValidationError as error:
            raise SignatureRefused(
                f"{where}: entry {entry.entry} of the ledger holds no signed statement of a form that this release "
                "knows; use the release that wrote it, or bring the ledger back from a backup"
            ) from error
        same = named.substance == statement.substance
        digests = f": digest {statement.digest[:12]}, promoted was {named.digest[:12]}"
    else:
        # an entry from before models were signed
        same, digests = entry.trained_through == statement.trained_through, ""
    if not same:
        raise SignatureRefused(
            f"{where} in MLflow is not the version {entry.version} that entry {entry.entry} of the ledger promoted"
            f"{digests}. Either MLflow's registered model was deleted, and its numbers began again, or the version was "
            "replaced. Bring MLflow's database and files back from a backup. If the old versions are lost, move the "
            "table ledger/promotions of the use case away, train, and promote anew"
        )
