"""Encryption and the bearer token, on both protocols."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ingot.client import AsyncClient, Client, ServerError
from ingot.compiler.build import Artifact
from tests.serving.running import Running, running

TOKEN = "a-long-secret"


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that has signed itself, and its private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def secured(small_artifact: Artifact, certificate: tuple[Path, Path]) -> Iterator[Running]:
    options = ["--certificate", certificate[0], "--key", certificate[1], "--token", TOKEN]
    with running(f"small={small_artifact.path}", *options) as server:
        yield server


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)


def test_http_is_encrypted(
    secured: Running, certificate: tuple[Path, Path], images: np.ndarray
) -> None:
    assert secured.url.startswith("https://")
    with Client(secured.url, token=TOKEN, certificates=str(certificate[0])) as client:
        assert client.infer("small", {"image": images})["logits"].shape == (2, 10)


def test_the_asynchronous_client_too(
    secured: Running, certificate: tuple[Path, Path], images: np.ndarray
) -> None:
    async def ask() -> np.ndarray:
        trusted = str(certificate[0])
        async with AsyncClient(secured.url, token=TOKEN, certificates=trusted) as client:
            return (await client.infer("small", {"image": images}))["logits"]

    assert asyncio.run(ask()).shape == (2, 10)


def test_a_certificate_that_is_not_trusted_is_refused(secured: Running) -> None:
    with Client(secured.url, token=TOKEN, retries=0) as client, pytest.raises(ServerError):
        client.infer("small", {"image": np.zeros((1, 3, 16, 16), np.float32)})


@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_http_without_the_token(
    secured: Running, certificate: tuple[Path, Path], given: str | None
) -> None:
    headers = {} if given is None else {"Authorization": given}
    request = urllib.request.Request(f"{secured.url}/v2/models/small", headers=headers)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, context=trusting, timeout=30)
    with caught.value as answer:
        assert answer.code == 401
        assert b"Traceback" not in answer.read()


def asked(secured: Running, certificate: tuple[Path, Path], token: str) -> triton.InferResult:
    address = f"127.0.0.1:{secured.grpc_port}"
    client = triton.InferenceServerClient(address, ssl=True, root_certificates=str(certificate[0]))
    try:
        tensor = triton.InferInput("image", [1, 3, 16, 16], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 3, 16, 16), np.float32))
        return client.infer("small", [tensor], headers={"authorization": token})
    finally:
        client.close()


def test_grpc_is_encrypted(secured: Running, certificate: tuple[Path, Path]) -> None:
    result = asked(secured, certificate, f"Bearer {TOKEN}")
    assert result.as_numpy("logits").shape == (1, 10)


def test_grpc_without_the_token(secured: Running, certificate: tuple[Path, Path]) -> None:
    with pytest.raises(triton.InferenceServerException, match="valid bearer token") as caught:
        asked(secured, certificate, "Bearer wrong")
    assert caught.value.status() == str(grpc.StatusCode.UNAUTHENTICATED)


def test_plain_grpc_finds_nobody(secured: Running) -> None:
    plain = grpc.insecure_channel(f"127.0.0.1:{secured.grpc_port}")
    with plain as channel, pytest.raises(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=1)
