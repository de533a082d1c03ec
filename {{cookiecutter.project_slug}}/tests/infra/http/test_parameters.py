"""Parameters that are lists, as FastAPI finds them out."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Header, Query
from fastapi.dependencies import utils
from httpx2 import AsyncClient
from pydantic import AliasChoices, BaseModel, Field

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
    x_one: Annotated[str | None, Header()] = None,
) -> list[Any]:
    return [one, many, perhaps, x_many, x_one]


class Page(BaseModel):
    """A model whose fields are parameters."""

    page_size: int
    after: Annotated[str, Field(validation_alias=AliasChoices("after", "since"))] = ""


@probe.get("/model")
async def page(page: Annotated[Page, Query()]) -> list[Any]:
    return [page.page_size, page.after]


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return probed(probe, settings)


async def test_are_taken_as_they_are_declared(client: AsyncClient) -> None:
    """Again and again."""
    asked = "/probe/parameters?one=1&many=2&many=3&perhaps=a"
    for _ in range(2):
        headers = [("X-Many", "b"), ("X-Many", "c"), ("X-One", "d")]
        answer = await client.get(asked, headers=headers)
        assert answer.json() == [1, [2, 3], ["a"], ["b", "c"], "d"]
        for name in ("after", "since"):
            answer = await client.get(f"/probe/model?page_size=4&{name}=e")
            assert answer.json() == [4, "e"]


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
    """In the process that serves, also those that have no hash."""
    assert utils.field_annotation_is_sequence is parameters._is_sequence  # type: ignore[attr-defined]
    for _ in range(2):
        assert parameters._is_sequence(annotation) is expected


def test_each_is_looked_at_once(app: FastAPI) -> None:  # noqa: ARG001
    """For each way in which it is asked about."""
    looks: list[object] = []

    def look(field: object, **options: object) -> list[object]:
        looks.append(field)
        return [field, options]

    remembered, fields = parameters._remembering(look), [object(), object()]
    for _ in range(2):
        for field in fields:
            assert remembered(field) == [field, {}]
            assert remembered(field, convert_underscores=True) == [
                field,
                {"convert_underscores": True},
            ]
    assert looks == [fields[0], fields[0], fields[1], fields[1]]
    assert utils._get_param_model is parameters._model
    assert utils._get_param_aliases is parameters._aliases
