"""Where the time of a request went, as its response tells."""

from httpx2 import Response


def parts_of(response: Response) -> dict[str, float]:
    """Milliseconds by part, and in all."""
    entries = (entry.split(";dur=") for entry in response.headers["server-timing"].split(", "))
    return {part: float(milliseconds) for part, milliseconds in entries}
