"""Law 7: a driver is a URL; what differs between databases stands in one room."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import python_files
from template import SERVICE

ROOM = "app/infra/database/"
# The default URL is a setting, and who wires the room names the file of the driver.
ELSEWHERE = {"app/settings.py", "app/bootstrap.py"}
DRIVERS = re.compile("asyncmy|asyncpg|mariadb|mysql|postgres|psycopg|sqlite", re.IGNORECASE)


def branches(folder: Path) -> Iterator[str]:
    """Lines outside the room that know which database they talk to."""
    for path in python_files(folder):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("app/") or name.startswith(ROOM) or name in ELSEWHERE:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        yield from (f"{name}: {line.strip()}" for line in lines if DRIVERS.search(line))


class TestTemplate:
    def test_no_driver_is_known_outside_its_room(self, template: Path) -> None:
        """Slices speak SQLAlchemy, whichever database answers."""
        assert not list(branches(template / SERVICE))


class TestCaught:
    @pytest.mark.parametrize(
        "line",
        ["from sqlalchemy.dialects.postgresql import insert", 'if url.drivername == "sqlite":'],
        ids=["dialect", "branch"],
    )
    def test_driver_in_a_slice(self, tmp_path: Path, line: str) -> None:
        """An import or a comparison is named, the same line in the room is not."""
        for path in ("app/catalog/repository.py", "app/infra/database/sqlite.py"):
            (tmp_path / path).parent.mkdir(parents=True)
            (tmp_path / path).write_text(line, encoding="utf-8")
        assert list(branches(tmp_path)) == [f"app/catalog/repository.py: {line}"]
