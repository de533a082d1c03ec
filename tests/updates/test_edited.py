"""A project that was worked on changes its mind: every edit survives, or is a conflict of git's."""

from pathlib import Path

import pytest
from choices import CORNERS
from conftest import Install
from history import Project, commit, git, released, started
from project import Installed, contract_complaints, run
from test_removal_drill import add_slice, succeed, wire_slice

ROUTE = '''

@router.get("/newest/names")
async def list_newest_names(catalog: CatalogDependency) -> list[str]:
    """The names of the newest products."""
    return []
'''
HOST = """

@router.get("/host")
async def encode_host(name: str) -> str:
    return idna.encode(name).decode()
"""
SETTING = '''
    greeting: str = "hello"
    """What the service says."""

    environment:'''
# Of the project, in a run that is not asked for all.
SOME_TESTS = ["tests/test_about.py", "tests/test_settings.py", "tests/catalog/test_listing.py"]
# What each edit leaves, by file.
EDITS = {
    "app/bootstrap.py": "    app.include_router(orders_routes.router, prefix=API_PREFIX)\n",
    "app/catalog/routes.py": ROUTE,
    "app/orders/routes.py": "import idna\n",
    "app/settings.py": '    greeting: str = "hello"\n',
    "pyproject.toml": '    "idna>=3",\n',
    "tests/test_about.py": "\n# Mine.\n",
}


def edit(project: Project, name: str, before: str, after: str) -> None:
    text = project.read(name)
    assert text.count(before) == 1, (name, before)
    project.write(name, text.replace(before, after))


def write_settings(project: Installed) -> None:
    """As the README says, after a setting has changed."""
    told = run([project.python, "-m", "app", "settings", "--example"], project.path)
    (project.path / ".env.example").write_text(told.stdout, encoding="utf-8")


@pytest.mark.environment
@pytest.mark.xdist_group("removal drill")
def test_edits(installed: Install, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    template = released(tmp_path / "template")
    project = started(template, tmp_path / "mine")
    here = Installed(project.folder, installed(CORNERS["defaults"]).python)
    add_slice(project.folder)
    wire_slice(project.folder)
    succeed(here, "migrate")
    succeed(here, "revision", "orders", "first")
    project.write("app/catalog/routes.py", project.read("app/catalog/routes.py") + ROUTE)
    edit(project, "app/orders/routes.py", "from fastapi", "import idna\nfrom fastapi")
    project.write("app/orders/routes.py", project.read("app/orders/routes.py") + HOST)
    edit(project, "app/settings.py", "\n    environment:", SETTING)
    edit(project, "pyproject.toml", "dependencies = [\n", 'dependencies = [\n    "idna>=3",\n')
    project.write("tests/test_about.py", project.read("tests/test_about.py") + "\n# Mine.\n")
    project.write("README.md", "# Mine\n\nIn my own words.\n")
    project.write("app/infra/cache/lru.py", project.read("app/infra/cache/lru.py") + "# Mine.\n")
    write_settings(here)
    commit(project.folder)
    before = project.tree

    said = project.tool("update", "--set", "cache_backend=none", status=1).said
    conflicts = git(project.folder, "diff", "--name-only", "--diff-filter=U").splitlines()
    assert conflicts == ["README.md", "app/infra/cache/lru.py"]
    assert all(name in said for name in conflicts)
    for name, text in EDITS.items():
        assert text in project.read(name), name
    assert [name for name in before if "orders/migrations" in name] == [
        name for name in project.tree if "orders/migrations" in name
    ]
    assert project.tree["my-service.db"] == before["my-service.db"]

    git(project.folder, "checkout", "--ours", "README.md")
    git(project.folder, "rm", "--quiet", "app/infra/cache/lru.py")
    commit(project.folder)
    assert project.read("README.md") == "# Mine\n\nIn my own words.\n"
    assert not [name for name in project.tree if name.startswith("app/infra/cache/")]
    write_settings(here)
    tests = [] if pytestconfig.getoption("pairwise") == "full" else SOME_TESTS
    for tool in (["mypy"], ["pytest", "--numprocesses=0", "--no-cov", "-q", *tests]):
        assert not (found := here.complaints("-m", *tool)), found
    assert not (found := contract_complaints(project.folder)), found
