"""The removal drill: a user's slice and its data survive the removal of the example."""

import shutil
from pathlib import Path

import pytest
from choices import BASE, CORNERS
from conftest import Bake, Install
from project import Installed, contract_complaints, serving

MODELS = """\
from sqlalchemy.orm import Mapped, mapped_column

from app.infra.database import Base, Identity


class OrderRow(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    note: Mapped[str]
"""
ROUTES = """\
from fastapi import APIRouter, Request
from sqlalchemy import insert, select

from app.orders.models import OrderRow

router = APIRouter(prefix="/orders")


@router.get("")
async def list_orders(request: Request) -> list[str]:
    async with request.state.orders.reading() as connection:
        return list(await connection.scalars(select(OrderRow.note)))


@router.post("", status_code=201)
async def create_order(request: Request, note: str) -> None:
    async with request.state.orders.writing() as session:
        await session.execute(insert(OrderRow).values(note=note))
"""
# The slice's lines in bootstrap, each between what stands there with the example and without it.
WIRING = [
    ("", "from app.orders import routes as orders_routes\n", "from app.settings import Settings\n"),
    (
        '    """Add the routes of each slice, one level deep: each level is searched again."""\n',
        "    app.include_router(orders_routes.router, prefix=API_PREFIX)\n",
        "",
    ),
    (
        "",
        '    state["orders"] = database\n',
        '    state["checks"] = {"database": database.check}\n',
    ),
    (
        '    """Where each slice keeps its revisions, by the slice\'s name."""\n    return {\n',
        '        "orders": Path(__file__).parent / "orders" / "migrations",\n',
        "",
    ),
]


def add_slice(project: Path) -> None:
    """Write the user's slice."""
    for name, source in {"__init__": "", "models": MODELS, "routes": ROUTES}.items():
        path = project / "app" / "orders" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")


def wire_slice(project: Path) -> None:
    """Write the user's lines into bootstrap."""
    bootstrap = project / "app" / "bootstrap.py"
    source = bootstrap.read_text(encoding="utf-8")
    for before, line, after in WIRING:
        assert source.count(before + after) == 1, before + after
        source = source.replace(before + after, before + line + after)
    bootstrap.write_text(source, encoding="utf-8")


def remove_example(project: Path, without: Path) -> None:
    """Delete what the service's README names: files, and lines where they are wired.

    Without those lines the wiring is what a bake without the example has.
    """
    readme = (project / "README.md").read_text(encoding="utf-8")
    _, _, instructions = readme.partition("## Remove the example")
    for path in (Path("app/catalog"), Path("tests/catalog")):
        assert f"`{path.as_posix()}/`" in instructions
        shutil.rmtree(project / path)
    for path in (Path("app/infra/http"), Path("tests/infra/http")):
        for file in (project / path).glob("*.py"):
            if not (without / path / file.name).exists():
                # A module, or the test of one.
                assert f"`{file.name.removeprefix('test_')}`" in instructions, file
                file.unlink()
    for name in ("app/bootstrap.py", "app/settings.py", "pyproject.toml", ".env.example"):
        assert f"`{name}`" in instructions
        shutil.copy(without / name, project / name)
    wire_slice(project)


def succeed(project: Installed, *arguments: str) -> None:
    """`python -m app …` does."""
    failed = project.complaints("-m", "app", *arguments)
    assert not failed, failed


@pytest.mark.environment
@pytest.mark.xdist_group("removal drill")
class TestRemoval:
    @pytest.fixture
    def project(self, installed: Install, tmp_path: Path) -> Installed:
        """A service with the example, and a slice of the user's with a revision and data."""
        project = installed(CORNERS["defaults"]).copy(tmp_path / "my-service")
        add_slice(project.path)
        wire_slice(project.path)
        succeed(project, "migrate")
        succeed(project, "revision", "orders", "first")
        with serving(project) as client:
            assert client.post("/v1/orders", params={"note": "kept"}).status_code == 201
            assert client.get("/v1/products").status_code == 200
        return project

    def test_what_is_left_passes_its_checks(
        self, bake: Bake, project: Installed, pytestconfig: pytest.Config
    ) -> None:
        """Types, contracts and the tests of everything but the example; without `full`, some."""
        remove_example(project.path, bake(CORNERS["no-example"]))
        full = pytestconfig.getoption("pairwise") == "full"
        chosen = [] if full else ["--no-cov", *project.having(BASE)]
        for tool in (
            ["-m", "ruff", "check", "--fix"],
            ["-m", "mypy"],
            ["-m", "pytest", "--numprocesses=0", "--no-cov", "--collect-only"],
            ["-m", "pytest", "--numprocesses=0", *chosen],
        ):
            assert not (said := project.complaints(*tool)), said
        assert not (said := contract_complaints(project.path)), said

    def test_what_is_left_runs(self, bake: Bake, project: Installed) -> None:
        """On a new database with the revisions that are left, and without the example's routes."""
        remove_example(project.path, bake(CORNERS["no-example"]))
        with serving(project, APP_DATABASE__URL="sqlite+aiosqlite:///new.db") as client:
            assert client.post("/v1/orders", params={"note": "new"}).status_code == 201
            assert client.get("/v1/orders").json() == ["new"]
            assert client.get("/v1/products").status_code == 404

    def test_data_survives(self, bake: Bake, project: Installed) -> None:
        """Of the user's slice, in the database that the example's tables were in too."""
        succeed(project, "migrate", "--undo", "catalog")
        remove_example(project.path, bake(CORNERS["no-example"]))
        succeed(project, "migrate")
        with serving(project) as client:
            assert client.get("/v1/orders").json() == ["kept"]
