"""What the tests ask of a server that is their own."""

from pathlib import Path
from typing import ClassVar, Protocol


class PrivateServer(Protocol):
    """A server process that a test may harm."""

    encrypted: ClassVar[str]
    """A statement that finds a row if it is sent through an encrypted connection."""

    @property
    def url(self) -> str:
        """Its one database, in the driver's own form."""

    def configure(self, **options: str) -> None:
        """Let it have other options, from its next start on."""

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Let it speak TLS, from its next start on."""

    def start(self) -> None:
        """Start it, or start it again at the same port, and wait until it answers."""

    def stop(self) -> None:
        """Let it end its connections and then itself."""

    def kill(self) -> None:
        """End it without warning."""

    def pause(self) -> None:
        """Let it hang: connections stay, and nobody answers."""

    def resume(self) -> None:
        """Let it go on."""

    def replica(self, delay_seconds: float = 0) -> "PrivateServer":
        """Another server, started, which follows this one after a delay."""

    def close(self) -> None:
        """End it, and remove everything of it."""
