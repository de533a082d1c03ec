"""Problem documents, checked."""

from typing import Any

from httpx2 import Response


def problem(response: Response, status: int) -> dict[str, Any]:
    """The problem document of an error, after its envelope was checked (RFC 9457)."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert "nosniff" in response.headers["x-content-type-options"]
    assert "total;dur=" in response.headers["server-timing"]
    document: dict[str, Any] = response.json()
    assert document["type"] == "about:blank"
    assert document["status"] == status
    assert document["title"]
    assert document["request_id"] == response.headers["x-request-id"]
    return document
