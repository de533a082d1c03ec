"""Law 6: what decorates is deleted; what the domain calls keeps its protocol and a null form."""

import ast
from pathlib import Path

import pytest
from choices import CORNERS, Answers, corner
from conftest import Bake, Install
from project import python_files, serving

# What a slice's rules call, whatever is chosen.
DOMAIN = ("routes.py", "schemas.py", "service.py")


def names_of_choices(folder: Path) -> set[str]:
    """Domain modules that compare something with None to learn what was chosen."""
    asking = set()
    for path in python_files(folder):
        if path.name in DOMAIN:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Compare) and ast.unparse(node).startswith("self._"):
                    operands = [ast.unparse(operand) for operand in node.comparators]
                    if operands == ["None"]:
                        asking.add(f"{path.relative_to(folder).as_posix()}: {ast.unparse(node)}")
    return asking


class TestStore:
    def test_domain_is_the_same_without_a_database(self, bake: Bake) -> None:
        """The files that hold the rules do not change by a byte: they ask for a protocol."""
        with_database, without = bake(CORNERS["defaults"]), bake(CORNERS["no-database"])
        for name in DOMAIN:
            path = Path("app/catalog") / name
            assert (with_database / path).read_bytes() == (without / path).read_bytes()

    def test_double_stays_with_a_database(self, bake: Bake) -> None:
        """The dict store is the null form, and the test double of the others."""
        for label in ("defaults", "no-database"):
            assert (bake(CORNERS[label]) / "app/catalog/memory.py").is_file()

    @pytest.mark.environment
    @corner("no-database")
    def test_catalogue_works_over_it(self, installed: Install, answers: Answers) -> None:
        """Written, read, reviewed and deleted over HTTP, with nothing but a dict behind it."""
        with serving(installed(answers)) as client:
            product = {"sku": "A-1", "name": "Lamp", "price": "19.99", "currency": "EUR"}
            created = client.post("/v1/products", json=product)
            assert created.status_code == 201, created.text
            location = created.headers["Location"]
            etag = created.headers["ETag"]
            assert client.post(f"{location}/reviews", json=REVIEW).status_code == 201
            assert [item["sku"] for item in client.get("/v1/products").json()["items"]] == ["A-1"]
            etag = client.get(location).headers["ETag"]
            assert client.delete(location, headers={"If-Match": etag}).status_code == 204
            assert client.get(location).status_code == 404

    def test_rules_do_not_ask_what_was_chosen(self, template: Path) -> None:
        """An absent part is an object, not a `None` that each caller looks for."""
        assert not names_of_choices(template)


REVIEW = {"author": "Kim", "rating": 5, "text": "Bright"}


class TestCaught:
    def test_absent_part(self, tmp_path: Path) -> None:
        """A null check of a part in a service is named."""
        source = "class Catalog:\n    def get(self):\n        if self._cache is not None: ...\n"
        (tmp_path / "service.py").write_text(source, encoding="utf-8")
        assert names_of_choices(tmp_path) == {"service.py: self._cache is not None"}
