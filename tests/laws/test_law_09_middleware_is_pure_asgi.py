"""Law 9: no `BaseHTTPMiddleware`, which costs more than the rest of a trivial request."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import python_files
from template import SERVICE

# `@app.middleware("http")` wraps its function in one.
WRAPPED = re.compile(r"BaseHTTPMiddleware|\.middleware\(\s*[\"']http")


def wrapped(folder: Path) -> Iterator[str]:
    """Files that use it, by name or through the decorator."""
    for path in python_files(folder):
        if WRAPPED.search(path.read_text(encoding="utf-8")):
            yield path.relative_to(folder).as_posix()


class TestTemplate:
    def test_no_middleware_is_wrapped(self, template: Path) -> None:
        """In the service and its tests, whatever is chosen."""
        assert not list(wrapped(template / SERVICE))


class TestCaught:
    @pytest.mark.parametrize(
        "source",
        [
            "from starlette.middleware.base import BaseHTTPMiddleware\n",
            '@app.middleware("http")\nasync def time(request, call_next): ...\n',
        ],
        ids=["class", "decorator"],
    )
    def test_wrapper(self, tmp_path: Path, source: str) -> None:
        """By its name and by the decorator that hides it."""
        (tmp_path / "bad.py").write_text(source, encoding="utf-8")
        assert list(wrapped(tmp_path)) == ["bad.py"]
