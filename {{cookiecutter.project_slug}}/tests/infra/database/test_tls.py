"""Connections that are encrypted, and those that are refused because of who answers."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app import bootstrap
from app.errors import StartupError
from app.settings import Settings
from tests.databases import opened, with_database
from tests.servers import PrivateServer
from tests.services import skip_or_fail

# What Python 3.13 asks of a certificate, which is more than before.
OPENSSL = """
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
subjectAltName = IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Authority:
    """Somebody who certifies servers."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "authority.pem"

    def certify(self) -> tuple[Path, Path]:
        """The certificate of a server at 127.0.0.1, and its key."""
        self.make("server", "-CA", "authority.pem", "-CAkey", "authority.key")
        return self.folder / "server.pem", self.folder / "server.key"

    def make(self, name: str, *options: str) -> None:
        (self.folder / "openssl.cnf").write_text(OPENSSL)
        command = ["openssl", "req", "-config", "openssl.cnf", "-x509", "-extensions", name]
        command += ["-subj", f"/CN={name}", "-newkey", "rsa:2048", "-nodes", *options]
        command += ["-out", f"{name}.pem", "-keyout", f"{name}.key"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authorities(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Authority, Authority]:
    """The one that the server has its certificate from, and another of the same name."""
    if shutil.which("openssl") is None:
        skip_or_fail(pytestconfig, "openssl is not on PATH, and makes the certificates")
    both = Authority(tmp_path_factory.mktemp("right")), Authority(tmp_path_factory.mktemp("wrong"))
    for authority in both:
        authority.make("authority")
    return both


@pytest.fixture
def server(
    private_server: PrivateServer, authorities: tuple[Authority, Authority]
) -> PrivateServer:
    """A server that speaks TLS, to whoever wants that."""
    private_server.stop()
    private_server.encrypt(*authorities[0].certify())
    private_server.start()
    return private_server


async def is_encrypted(server: PrivateServer, **changes: Any) -> bool:
    """Whether the connections of a service with these settings are, once it is open."""
    settings = with_database(Settings(), **{"url": server.url, **changes})
    async with opened(settings) as database, database.reading() as connection:
        return (await connection.execute(text(server.encrypted))).first() is not None


async def refusal(server: PrivateServer, **changes: Any) -> str:
    with pytest.raises(StartupError, match="cannot be opened") as refused:
        await is_encrypted(server, **changes)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


class TestEncryption:
    @pytest.mark.parametrize(("tls", "expected"), [("off", False), ("require", True)])
    async def test_is_asked_for(self, server: PrivateServer, tls: str, expected: bool) -> None:
        """Whoever it is that answers."""
        assert await is_encrypted(server, tls=tls) == expected

    async def test_is_not_done_without(self, private_server: PrivateServer) -> None:
        """A server that does not speak TLS is not spoken to."""
        assert not await is_encrypted(private_server)
        await refusal(private_server, tls="require")


class TestVerification:
    async def test_by_the_authority_that_is_named(
        self, server: PrivateServer, authorities: tuple[Authority, Authority]
    ) -> None:
        """The right one vouches for the server; for another one it could be anybody."""
        right, wrong = authorities
        assert await is_encrypted(server, tls="verify", tls_ca_file=right.certificate)
        said = await refusal(server, tls="verify", tls_ca_file=wrong.certificate)
        assert "certificate verify failed" in said

    async def test_by_those_of_the_system(
        self,
        server: PrivateServer,
        authorities: tuple[Authority, Authority],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As OpenSSL finds them, when none is named."""
        for authority, trusted in zip(authorities, (True, False), strict=True):
            monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
            if trusted:
                assert await is_encrypted(server, tls="verify")
            else:
                assert "certificate verify failed" in await refusal(server, tls="verify")

    async def test_of_the_name(
        self, server: PrivateServer, authorities: tuple[Authority, Authority]
    ) -> None:
        """The certificate is one for 127.0.0.1, and for nothing else at that address."""
        url = server.url.replace("127.0.0.1", "localhost")
        assert await is_encrypted(server, url=url, tls="require")
        ca_file = authorities[0].certificate
        assert "match" in await refusal(server, url=url, tls="verify", tls_ca_file=ca_file)

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_file_that_cannot_be_read(self, tmp_path: Path, content: str | None) -> None:
        """One sentence that names the setting, before anything connects."""
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        settings = with_database(Settings(), tls="verify", tls_ca_file=path)
        with pytest.raises(StartupError, match="APP_DATABASE__TLS_CA_FILE cannot be read"):
            bootstrap.make_database(settings)
