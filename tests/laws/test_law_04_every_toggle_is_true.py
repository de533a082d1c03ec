"""Law 4: each value of each prompt shows in a running service, seen from outside its process.

`license` makes a file only; `tests/test_texts.py` reads it.
"""

import pytest
from choices import CHOICES, Answers, corner
from conftest import Install
from project import Installed, serving
from services import Database

pytestmark = pytest.mark.environment

PRODUCT = {"sku": "A-1", "name": "Lamp", "price": "19.99", "currency": "EUR"}
FILES_ONLY = {"license"}
PROVEN = {
    "database_driver": {"aiosqlite", "asyncpg", "psycopg", "asyncmy", "none"},
    "example": {"catalog", "none"},
}


def keeps_data(project: Installed, settings: dict[str, str]) -> bool:
    """Whether a product that was written before a restart is there after it."""
    with serving(project, **settings) as client:
        created = client.post("/v1/products", json=PRODUCT)
        assert created.status_code == 201, created.text
        location = created.headers["Location"]
        assert client.get(location).json()["name"] == "Lamp"
    with serving(project, **settings) as client:
        status = client.get(location).status_code
    assert status in {200, 404}
    return status == 200


def checks(project: Installed, settings: dict[str, str]) -> set[str]:
    """What readiness asks."""
    with serving(project, **settings) as client:
        ready = client.get("/health/ready")
        assert ready.status_code == 200
        return set(ready.json()["checks"])


def serves_products(project: Installed) -> bool:
    """Whether the example answers."""
    with serving(project) as client:
        status = client.get("/v1/products").status_code
        documented = "/v1/products" in client.get("/openapi.json").json()["paths"]
    assert status in {200, 404}
    assert documented == (status == 200)
    return status == 200


class TestDatabaseDriver:
    @corner("defaults", "no-database", "asyncpg", "psycopg", "asyncmy")
    def test_data_survives_a_restart(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """With a database it does, in memory it does not."""
        project = installed(answers)
        kept = keeps_data(project, database(project, answers))
        assert kept == (answers["database_driver"] != "none")

    @corner("no-example", "bare")
    def test_readiness_asks_it(
        self, installed: Install, database: Database, answers: Answers
    ) -> None:
        """Without the example too, the service is ready only when its database is."""
        expected = set() if answers["database_driver"] == "none" else {"database"}
        project = installed(answers)
        assert checks(project, database(project, answers)) == expected


class TestExample:
    @corner("defaults", "no-database", "no-example", "bare")
    def test_products_answer(self, installed: Install, answers: Answers) -> None:
        """With the catalogue they are served and documented, without it there is nothing there."""
        assert serves_products(installed(answers)) == (answers["example"] == "catalog")


class TestCaught:
    def test_value_without_a_test(self) -> None:
        """Whoever adds a value proves it here."""
        promised = {key: set(v) for key, v in CHOICES.items() if key not in FILES_ONLY}
        assert promised == PROVEN

    @corner("defaults")
    def test_false_toggle(self, installed: Install, answers: Answers) -> None:
        """A database that forgets is seen: this one's file is taken away between two starts."""
        project = installed(answers)
        with serving(project, APP_DATABASE__URL="sqlite+aiosqlite:///forgotten.db") as client:
            created = client.post("/v1/products", json=PRODUCT)
        for path in project.path.glob("forgotten.db*"):
            path.unlink()
        with serving(project, APP_DATABASE__URL="sqlite+aiosqlite:///forgotten.db") as client:
            assert client.get(created.headers["Location"]).status_code == 404
