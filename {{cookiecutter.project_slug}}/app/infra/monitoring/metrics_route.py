"""`/metrics` at the service's own port, for who has the token."""

import asyncio
import secrets
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from app.errors import ServiceError
from app.infra.monitoring.prometheus import registry


class Unauthorized(ServiceError):
    status = HTTPStatus.UNAUTHORIZED


def router(token: SecretStr) -> APIRouter:
    """The route, for clients that send `token`."""
    metrics = APIRouter(tags=["monitoring"])
    bearer = HTTPBearer(auto_error=False)
    expected = token.get_secret_value().encode()

    async def authorized(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> None:
        if given is None or not secrets.compare_digest(given.credentials.encode(), expected):
            raise Unauthorized(
                "Send the token of the metrics as a bearer token.",
                headers={"WWW-Authenticate": "Bearer"},  # RFC 6750
            )

    @metrics.get("/metrics", dependencies=[Depends(authorized)], include_in_schema=False)
    async def read_metrics() -> Response:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        # Files are read, and waited for.
        text = await asyncio.to_thread(lambda: generate_latest(registry()))
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return metrics
