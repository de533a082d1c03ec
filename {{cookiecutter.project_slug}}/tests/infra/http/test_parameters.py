"""Parameters that are lists, as FastAPI finds them out."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Header, Query
from fastapi.dependencies import utils
from httpx2 import AsyncClient

from app.infra.http import parameters
from app.settings import Settings
from tests.serving import probed

probe = APIRouter(prefix="/probe")


@probe.get("/parameters")
async def tell(
    one: int,
    many: Annotated[list[int], Query()],
    perhaps: Annotated[list[str] | None, Query()] = None,
    x_many: Annotated[list[str] | None, Header()] = None,
) -> list[Any]:
    return [one, many, perhaps, x_many]


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return probed(probe, settings)


async def test_are_taken_as_they_are_declared(client: AsyncClient) -> None:
    """Again and again."""
    asked = "/probe/parameters?one=1&many=2&many=3&perhaps=a"
    for _ in range(2):
        answer = await client.get(asked, headers=[("X-Many", "b"), ("X-Many", "c")])
        assert answer.json() == [1, [2, 3], ["a"], ["b", "c"]]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (list[int], True),
        (list[int] | None, True),
        (str, False),
        (Annotated[list[int], {"an annotation": "that has no hash"}], True),
    ],
)
def test_are_remembered(app: FastAPI, annotation: object, expected: bool) -> None:  # noqa: ARG001
    """In the process that serves, also where Python could not."""
    assert utils.field_annotation_is_sequence is parameters._remembered  # type: ignore[attr-defined]
    assert parameters._remembered(annotation) is expected
