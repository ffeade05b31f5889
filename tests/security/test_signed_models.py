"""Who can write to MLflow's database and artifact store cannot make another model score.

Each attack changes a real MLflow store and real model files, as an administrator of MLflow could.
"""

from __future__ import annotations

import base64
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from include.core.errors import DigestMismatch, LifecycleError, SettingsError, SignatureRefused
from include.core.repository import REPOSITORY
from include.core.settings import KeySettings, Settings
from include.promotion import ledger
from include.registry import files, keys, model_versions, sign, signatures
from include.stack.environment import service_environ
from include.stack.layout import Layout
from include.stack.secrets import generate_secrets, only_needed
from include.stack.services import services_of
from include.steps.handover import Proposal
from include.steps.promote import deciding
from include.steps.score import predicting
from include.steps.train import rebuild
from include.steps.workspace import Workspace
from include.training.model import MANIFEST, digest
from tests.unit import promotion_case as given
from tests.unit import signing_case

NAME = "flights"
FIRST, SECOND = 1, 2


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two registered versions of one use case; the first is champion."""
    made = given.workspace(tmp_path_factory.mktemp("signed"))
    given.train(made)
    given.train(made, seed=1, as_of="2013-04-10")
    promote(made, FIRST)
    return made


@pytest.fixture
def there(origin: Workspace, tmp_path: Path) -> Workspace:
    """Return a copy with a lake, an MLflow store, model files and keys that the test may change."""
    folder = Path(origin.settings.lake_root).parent
    for name in ("lake", "artifacts"):
        shutil.copytree(folder / name, tmp_path / name)
    shutil.copy(folder / "mlflow.db", tmp_path / "mlflow.db")
    own = Settings.in_folder(tmp_path, **signing_case.key_settings(tmp_path / "keys", 1))
    copied = Workspace(own, origin.case)
    for number in (FIRST, SECOND):
        point_to(copied, number, tmp_path / Path(source(origin, number)).relative_to(folder))
    return copied


def client(there: Workspace) -> MlflowClient:
    return MlflowClient(there.settings.mlflow_tracking_uri)


def source(there: Workspace, number: int) -> str:
    return str(client(there).get_model_version_download_uri(NAME, str(number)))


def point_to(there: Workspace, number: int, folder: Path | str) -> None:
    """Let a version's row in MLflow's database name other files."""
    import sqlite3

    with sqlite3.connect(there.settings.mlflow_tracking_uri.removeprefix("sqlite:///")) as database:
        database.execute(
            "UPDATE model_versions SET source = ?, storage_location = NULL WHERE name = ? AND version = ?",
            (str(folder), NAME, number),
        )


def tag(there: Workspace, number: int, name: str, value: str) -> None:
    client(there).set_model_version_tag(NAME, str(number), name, value)


def tags(there: Workspace, number: int) -> dict[str, str]:
    return dict(client(there).get_model_version(NAME, str(number)).tags)


def promote(there: Workspace, version: int) -> None:
    entries = len(ledger.promotions(there.lake, there.case))
    proposal = Proposal(kind="promotion", version=version, entries=entries, change=True, reason="better")
    deciding.promote(there, proposal, "auto", given.attempt("promote", str(entries)))


def with_keys(there: Workspace, folder: Path, *seeds: int) -> Workspace:
    """Return ``there`` with other keys; the last one signs."""
    changed = there.settings.model_copy(update=signing_case.key_settings(folder, *seeds))
    return Workspace(changed, there.case)


# ---- what MLflow's administrator can change --------------------------------------------------------


def test_what_was_signed_loads(there: Workspace) -> None:
    assert predicting.load_version(there, FIRST).manifest.use_case == NAME
    assert predicting.load_version(there, SECOND).manifest.use_case == NAME
    statement = signatures.verify(NAME, FIRST, tags(there, FIRST), keys.trusted(there.settings))
    assert (statement.version, statement.trained_through) == (FIRST, "2013-04-02")
    (entry,) = ledger.promotions(there.lake, there.case)
    assert entry.signed == tags(there, FIRST)[signatures.SIGNED]


def test_files_and_digest_changed_together_do_not_score(there: Workspace) -> None:
    """The attack that worked while the digest was a plain hash."""
    folder = Path(source(there, FIRST)) / "data" / "model"
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text() + " ")
    with pytest.raises(DigestMismatch):
        predicting.load_version(there, FIRST)
    tag(there, FIRST, "digest", digest(folder))
    with pytest.raises(SignatureRefused, match=r"version 1: its signature is for digest .* somebody changed"):
        predicting.load_version(there, FIRST)


def test_a_statement_that_was_changed_too_does_not_score(there: Workspace) -> None:
    folder = Path(source(there, FIRST)) / "data" / "model"
    before = tags(there, FIRST)
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text() + " ")
    tag(there, FIRST, "digest", digest(folder))
    tag(there, FIRST, signatures.SIGNED, before[signatures.SIGNED].replace(before["digest"], digest(folder)))
    with pytest.raises(SignatureRefused, match=r"its statement was changed after the key \w{16} signed it"):
        predicting.load_version(there, FIRST)


@pytest.mark.parametrize("name", ["trained_through", "as_of", "training_set_version", "training_set_fingerprint"])
def test_a_changed_tag_that_code_relies_on_is_refused(there: Workspace, name: str) -> None:
    """A smaller ``trained_through`` would let a model score days that it has learnt from."""
    tag(there, SECOND, name, "77")
    with pytest.raises(SignatureRefused, match=f"its signature is for {name}"):
        deciding.propose(there, str(SECOND), given.attempt("promote"))
    with pytest.raises(SignatureRefused):
        promote(there, SECOND)
    with pytest.raises(SignatureRefused):
        rebuild.rebuild_of_model(there, SECOND)


def test_the_champions_number_with_another_signed_version_does_not_score(there: Workspace) -> None:
    """Files and tags, the statement among them, of a version that is validly signed under another number."""
    point_to(there, FIRST, source(there, SECOND))
    for name, value in tags(there, SECOND).items():
        tag(there, FIRST, name, value)
    with pytest.raises(SignatureRefused, match=r"its signature is for version 2, and MLflow shows version 1"):
        predicting.load_version(there, FIRST)


def test_the_signature_of_another_use_case_is_refused(there: Workspace) -> None:
    trusted, own = keys.trusted(there.settings), tags(there, FIRST)
    other = signatures.sign({**own, "use_case": "weather"}, FIRST, keys.signer(there.settings))
    tag(there, FIRST, signatures.SIGNED, other)
    with pytest.raises(SignatureRefused, match=r"signature is for use_case 'weather', and MLflow shows use_case"):
        files.folder_of(there.settings, NAME, FIRST)
    with pytest.raises(SignatureRefused):
        signatures.verify("weather", FIRST, own, trusted)


@pytest.mark.parametrize("signed", ["", "no statement", "AAAA {}", "!! {}"])
def test_a_missing_or_broken_signature_is_refused_with_the_remedy(there: Workspace, signed: str) -> None:
    tag(there, FIRST, signatures.SIGNED, signed)
    with pytest.raises(SignatureRefused, match="make sign CASE=flights MODEL=1"):
        predicting.load_version(there, FIRST)


def test_a_digest_that_is_a_path_is_refused(there: Workspace) -> None:
    """The digest names a folder of the cache."""
    tag(there, FIRST, "digest", "../../elsewhere")
    with pytest.raises(SignatureRefused):
        files.folder_of(there.settings, NAME, FIRST)


def test_numbers_that_began_again_are_noticed(there: Workspace) -> None:
    """A registered model was deleted in MLflow: the next training becomes version 1 again, validly signed."""
    client(there).delete_registered_model(NAME)
    with pytest.raises(LifecycleError, match=r"version 1 is not registered.* Entry 1 of the ledger promoted it"):
        predicting.load_version(there, FIRST)
    assert given.train(there, seed=2, as_of="2013-04-17") == FIRST
    for act in (
        lambda: predicting.load_version(there, FIRST),
        lambda: deciding.propose(there, None, given.attempt("promote")),
    ):
        with pytest.raises(SignatureRefused, match=r"not the version 1 that entry 1 .* numbers began again"):
            act()
    # the way out that the message names
    shutil.rmtree(Path(there.settings.lake_root, NAME, "ledger", "promotions"))
    promote(there, FIRST)
    assert predicting.load_version(there, FIRST)


def test_an_entry_of_the_ledger_that_cannot_be_read_is_named(there: Workspace) -> None:
    (entry,) = ledger.promotions(there.lake, there.case)
    with pytest.raises(SignatureRefused, match="entry 1 of the ledger holds no signed statement"):
        files.version_of(there.settings, NAME, FIRST, replace(entry, signed="A {}"))


def test_a_version_that_is_replaced_while_a_person_decides_is_not_promoted(there: Workspace) -> None:
    """Signed again after its files changed, for example by a person who was misled."""
    judged = Proposal(
        kind="promotion", version=SECOND, entries=1, change=True, reason="better", digest=tags(there, SECOND)["digest"]
    )
    folder = Path(source(there, SECOND)) / "data" / "model"
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text() + " ")
    tag(there, SECOND, "digest", digest(folder))
    sign.sign(there.settings, NAME, SECOND)
    with pytest.raises(SignatureRefused, match="it was replaced in MLflow meanwhile"):
        deciding.promote(there, judged, "Ada", given.attempt("promote"))
    assert len(ledger.promotions(there.lake, there.case)) == 1


# ---- versions that nobody has signed -----------------------------------------------------------------


def test_a_version_registered_by_hand_does_not_block_promote(there: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    # not caplog: MLflow's migrations, which run in this process, switch off the loggers that exist
    monkeypatch.setattr(model_versions._log, "warning", lambda text, *parts: said.append(text % parts))
    by_hand = client(there).create_model_version(NAME, "/elsewhere", tags={"digest": "0" * 64, "trained_through": "x"})
    client(there).create_model_version(NAME, "/elsewhere")
    trusted = keys.trusted(there.settings)
    assert model_versions.newest(there.settings.mlflow_tracking_uri, NAME, trusted) == SECOND
    assert any(f"passed over: {NAME} version {by_hand.version} has no signature" in line for line in said)
    with pytest.raises(SignatureRefused, match="registered by hand, or before models were signed"):
        deciding.propose(there, str(by_hand.version), given.attempt("promote"))


def test_a_use_case_with_foreign_versions_only_says_why(there: Workspace) -> None:
    none = keys.Trusted("/nowhere", {})
    with pytest.raises(LifecycleError, match=r"no version that may be used. The newest: flights version 2 is"):
        model_versions.newest(there.settings.mlflow_tracking_uri, NAME, none)


def test_a_champion_from_before_signatures_is_refused_until_it_is_signed(there: Workspace) -> None:
    client(there).delete_model_version_tag(NAME, str(FIRST), signatures.SIGNED)
    folder = Path(there.settings.lake_root, NAME, "ledger", "promotions")
    (entry,) = ledger.promotions(there.lake, there.case)
    shutil.rmtree(folder)
    ledger.record(there.lake, there.case, replace(entry, signed=None), given.attempt("promote"))
    with pytest.raises(SignatureRefused, match="make sign CASE=flights MODEL=1"):
        predicting.load_version(there, FIRST)
    sign.sign(there.settings, NAME, FIRST)
    assert predicting.load_version(there, FIRST)


def test_what_does_not_have_its_digest_is_not_signed(there: Workspace) -> None:
    folder = Path(source(there, FIRST)) / "data" / "model"
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text() + " ")
    with pytest.raises(DigestMismatch):
        sign.sign(there.settings, NAME, FIRST)


# ---- keys --------------------------------------------------------------------------------------------


def test_a_key_that_is_not_trusted_is_refused(there: Workspace, tmp_path: Path) -> None:
    stranger = with_keys(there, tmp_path / "others", 2)
    with pytest.raises(SignatureRefused, match=r"is signed by the key \w{16}, which .* does not hold"):
        predicting.load_version(stranger, FIRST)


def test_a_rotated_key_leaves_old_models_valid_until_it_is_distrusted(there: Workspace) -> None:
    old = keys.signer(there.settings)
    assert keys.rotate(there.settings) != old.key
    assert predicting.load_version(there, FIRST)
    assert given.train(there, seed=2, as_of="2013-04-17") == 3
    trusted = Path(there.settings.trusted_keys)
    (trusted / f"{old.key}.pem").unlink()
    assert predicting.load_version(there, 3)
    with pytest.raises(SignatureRefused, match=f"signed by the key {old.key}.*train again, or"):
        predicting.load_version(there, FIRST)
    # signed again by the new key, it is still the version that the ledger names
    sign.sign(there.settings, NAME, FIRST)
    assert predicting.load_version(there, FIRST)


def test_the_commands_list_and_rotate_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in signing_case.key_settings(tmp_path, 1).items():
        monkeypatch.setenv(f"LIFECYCLE_{name.upper()}", value)
    (old,) = keys.trusted(KeySettings.read()).keys
    assert keys.main(["rotate"]) == 0
    new = capsys.readouterr().out.split()[0]
    assert keys.main(["list"]) == 0
    assert sorted(line.split()[:2] for line in capsys.readouterr().out.splitlines()) == sorted(
        [[old, "trusted"], [new, "signs"]]
    )
    Path(tmp_path, "signing.pem").chmod(0o644)
    assert keys.main(["list"]) == 1
    assert "chmod 600" in capsys.readouterr().err


def test_a_key_that_others_can_read_signs_nothing(there: Workspace) -> None:
    Path(there.settings.signing_key).chmod(0o640)
    with pytest.raises(SettingsError, match="can be read by other users; run: chmod 600"):
        given.train(there, seed=2, as_of="2013-04-17")
    assert len(client(there).search_model_versions(f"name = '{NAME}'")) == 2


def test_the_first_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    settings = KeySettings(signing_key=str(tmp_path / "keys" / "signing.pem"), trusted_keys=str(tmp_path / "trusted"))
    made = keys.ensure(settings)
    assert keys.ensure(settings) == made
    assert list(keys.trusted(settings).keys) == [made]
    assert Path(settings.signing_key).stat().st_mode & 0o777 == 0o600


def test_a_key_whose_public_half_is_gone_signs_nothing(there: Workspace) -> None:
    (public,) = Path(there.settings.trusted_keys).iterdir()
    public.unlink()
    with pytest.raises(SettingsError, match=r"has no \w{16}.pem.*make rotate-key"):
        keys.signer(there.settings)


def test_a_trusted_key_under_another_name_is_refused(there: Workspace) -> None:
    (public,) = Path(there.settings.trusted_keys).iterdir()
    public.rename(public.with_stem("0" * 16))
    with pytest.raises(SettingsError, match=f"name it {public.stem}.pem"):
        keys.trusted(there.settings)


SIGNS = """
import base64, sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open(sys.argv[1], "rb").read(), None)
print(base64.b64encode(key.sign(sys.stdin.buffer.read())).decode())
"""


def test_another_program_can_sign(there: Workspace, tmp_path: Path) -> None:
    program = tmp_path / "sign.py"
    program.write_text(SIGNS)
    (public,) = Path(there.settings.trusted_keys).iterdir()
    command = shlex.join([sys.executable, str(program), there.settings.signing_key])
    outside = KeySettings(signing_key=str(public), signing_command=command, trusted_keys=there.settings.trusted_keys)
    own = tags(there, FIRST)
    assert signatures.sign(own, FIRST, keys.signer(outside)) == own[signatures.SIGNED]


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("true", "printed no ed25519 signature"),
        (f"echo {base64.b64encode(bytes(64)).decode()}", "printed no ed25519 signature"),
        ("echo ???", "printed no base64"),
        ("false", "ended with status 1"),
        ("/nowhere/sign", "did not sign"),
    ],
)
def test_a_program_that_signs_wrongly_is_named(there: Workspace, command: str, fault: str) -> None:
    (public,) = Path(there.settings.trusted_keys).iterdir()
    outside = KeySettings(signing_key=str(public), signing_command=command, trusted_keys=there.settings.trusted_keys)
    with pytest.raises(LifecycleError, match=f"LIFECYCLE_SIGNING_COMMAND {fault}"):
        keys.signer(outside).sign(b"statement")


def test_only_the_scheduler_and_its_tasks_know_where_the_key_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    environ = service_environ(layout, generate_secrets(), {})
    keys.ensure(KeySettings.read(environ))
    secret = Path(environ["LIFECYCLE_SIGNING_KEY"]).read_text().splitlines()[1]
    for service in services_of(layout):
        values = only_needed(service.name, environ)
        assert ("LIFECYCLE_SIGNING_KEY" in values) == (service.name == "scheduler"), service.name
        assert not any(secret in value for value in values.values()), service.name


def test_no_other_container_has_the_volume_of_the_key() -> None:
    import yaml

    services = yaml.safe_load((REPOSITORY / "docker" / "compose.yaml").read_text())["services"]
    holders = {name for name, service in services.items() if any("/keys" in one for one in service.get("volumes", []))}
    assert holders == {"prepare", "scheduler"}


def test_a_file_that_mlflow_loads_by_itself_is_verified_too(there: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("LIFECYCLE_TRUSTED_KEYS", there.settings.trusted_keys)
    mlflow.set_tracking_uri(there.settings.mlflow_tracking_uri)
    try:
        with pytest.raises(SignatureRefused, match="load it as models:/"):
            mlflow.pyfunc.load_model(source(there, FIRST))
        assert mlflow.pyfunc.load_model(f"models:/{NAME}/{FIRST}")
        tag(there, FIRST, signatures.SIGNED, "")
        with pytest.raises(SignatureRefused):
            mlflow.pyfunc.load_model(f"models:/{NAME}/{FIRST}")
    finally:
        mlflow.set_tracking_uri(None)
