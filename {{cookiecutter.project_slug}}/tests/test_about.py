"""What the service says of itself."""

import tomllib
from pathlib import Path

from httpx2 import AsyncClient

from app.about import read_about


class TestTexts:
    def test_agree_with_the_project(self) -> None:
        """A release changes the version in both places."""
        text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        about = read_about()
        assert (about.version, about.description) == (project["version"], project["description"])


class TestRoot:
    async def test_says_where_to_read_on(self, client: AsyncClient) -> None:
        """Whoever opens the address finds the name and the way to the documentation."""
        about = (await client.get("/")).json()
        assert about["documentation"] == "/docs"
        assert (await client.get(about["documentation"])).status_code == 200
        assert (await client.get("/openapi.json")).json()["info"]["title"] == about["name"]
