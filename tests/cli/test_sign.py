"""``ingot keygen``, ``ingot sign`` and what checks signatures."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from ingot.compiler.build import Artifact
from ingot.serving.models.served_model import ServedModel
from ingot.serving.options import ModelOptions, server_options
from tests.cli.test_foreign_errors import expect_one_line
from tests.command_line import Ingot


@pytest.fixture
def own(ingot: Ingot, tmp_path: Path) -> Path:
    """A private key; the public one lies beside it."""
    path = tmp_path / "own.pem"
    outcome = ingot("keygen", path)
    assert outcome.code == 0, outcome.err
    return path


def test_a_signed_artifact_is_verified_and_run(
    ingot: Ingot, own: Path, small_artifact: Artifact, tmp_path: Path, image: np.ndarray
) -> None:
    path = tmp_path / "signed.ingot"
    outcome = ingot("sign", small_artifact.path, "--key", own, "-o", path)
    name = outcome.out.split()[-1]
    assert len(name) == 64
    verified = ingot("verify", path, "--trust", f"{own}.pub")
    assert f"signed by key {name}" in verified.out
    assert (
        json.loads(ingot("verify", path, "--trust", f"{own}.pub", "--json").out)["signer"] == name
    )
    assert json.loads(ingot("verify", path, "--json").out)["signer"] is None
    np.save(tmp_path / "image.npy", image)
    given = f"image={tmp_path / 'image.npy'}"
    assert ingot("run", path, "-i", given, "--trust", f"{own}.pub").code == 0


def test_the_policy_of_a_machine_holds_for_every_command_that_loads(
    ingot: Ingot,
    own: Path,
    small_artifact: Artifact,
    small_model: Path,
    tmp_path: Path,
    monkeypatch,
) -> None:
    monkeypatch.setenv("INGOT_TRUST", f"{own}.pub")
    for command in ("run", "verify"):
        outcome = ingot(command, small_artifact.path)
        expect_one_line(outcome, 1)
        assert "is not signed" in outcome.error
    serving = ingot("serve", small_artifact.path, "--port", "0", "--grpc-port", "-1")
    expect_one_line(serving, 1)
    assert "is not signed" in serving.error
    # What says something of an artifact loads none of its code; the compiler runs what it made.
    assert ingot("inspect", small_artifact.path).code == 0
    made = tmp_path / "made.ingot"
    assert ingot("compile", small_model, "-o", made).code == 0
    assert ingot("sign", made, "--key", own).code == 0
    assert ingot("verify", made, "--model", small_model).code == 0


def test_a_server_takes_keys_by_its_options(
    ingot: Ingot, own: Path, small_artifact: Artifact, tmp_path: Path
) -> None:
    options = server_options({"trust": tmp_path / "own.pem.pub"})
    assert options.of_model("any").trust == tmp_path / "own.pem.pub"
    path = tmp_path / "signed.ingot"
    ingot("sign", small_artifact.path, "--key", own, "-o", path)
    ServedModel("m", "1", path, options.default).close()
    outcome = ingot("serve", small_artifact.path, "--port", "0", "--trust", f"{own}.pub")
    expect_one_line(outcome, 1)
    assert "is not signed" in outcome.error
    ServedModel("m", "1", small_artifact.path, ModelOptions()).close()


def test_a_private_key_is_its_owners_alone_and_not_replaced(ingot: Ingot, own: Path) -> None:
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    before = own.read_bytes()
    expect_one_line(ingot("keygen", own), 2)
    assert own.read_bytes() == before
    own.unlink()
    expect_one_line(ingot("keygen", own), 2)
    assert not own.exists(), "a public key without its private one"


def test_keys_of_openssl_are_keys(ingot: Ingot, small_artifact: Artifact, tmp_path: Path) -> None:
    """As ``openssl genpkey -algorithm ed25519`` writes them; and OpenSSL reads ours."""
    private, public = tmp_path / "k.pem", tmp_path / "k.pub"
    # RFC 8410, section 10.3, the first example.
    private.write_text(
        "-----BEGIN PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
        "-----END PRIVATE KEY-----\n"
    )
    public.write_text(
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        "-----END PUBLIC KEY-----\n"
    )
    path = tmp_path / "signed.ingot"
    assert ingot("sign", small_artifact.path, "--key", private, "-o", path).code == 0
    assert ingot("verify", path, "--trust", public).code == 0


@pytest.mark.parametrize(
    "key", ["none", "junk", "public", "other kind", "password", "folder", "artifact"]
)
def test_keys_that_cannot_sign(
    ingot: Ingot, own: Path, small_artifact: Artifact, tmp_path: Path, key: str
) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    def pem(private, encryption=None):
        return private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            encryption or serialization.NoEncryption(),
        )

    path = tmp_path / "key"
    if key == "folder":
        path.mkdir()
    elif key != "none":
        path.write_bytes(
            {
                "junk": lambda: bytes(range(256)),
                "public": lambda: Path(f"{own}.pub").read_bytes(),
                "other kind": lambda: pem(ec.generate_private_key(ec.SECP256R1())),
                "password": lambda: pem(
                    ed25519.Ed25519PrivateKey.generate(),
                    serialization.BestAvailableEncryption(b"secret"),
                ),
                "artifact": small_artifact.path.read_bytes,
            }[key]()
        )
    output = tmp_path / "signed.ingot"
    expect_one_line(ingot("sign", small_artifact.path, "--key", path, "-o", output), 2)
    assert not output.exists()


def test_signing_without_its_package_says_how_to_get_it(
    ingot: Ingot, small_artifact: Artifact, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    outcome = ingot("keygen", tmp_path / "k")
    expect_one_line(outcome, 2)
    assert "pip install 'ingot[sign]'" in outcome.error
    assert not list(tmp_path.iterdir())
