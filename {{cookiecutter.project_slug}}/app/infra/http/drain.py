"""Whether the service is on its way out."""


class Drain:
    """Begun by the server on SIGTERM, seen by the health check and by every response."""

    def __init__(self) -> None:
        self.begun = False

    def begin(self) -> None:
        """Refuse readiness and close each connection after its next response."""
        self.begun = True
