"""The template as the tests see it: an export of the clone, and its hooks as modules."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from choices import ROOT

SERVICE = "{{cookiecutter.project_slug}}"


def export(target: Path) -> Path:
    """Copy what git tracks, or would, from the clone to `target`.

    Tools leave caches in a clone, and baking from it would copy them or fail on one.
    """
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    for path in filter(None, listing.stdout.split("\0")):
        # Still listed when deleted and not yet committed.
        if (ROOT / path).is_file():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, target / path)
    return target


def hook(name: str) -> Any:
    """A new module of the hook as it stands in the template, not rendered."""
    return program(ROOT / "hooks" / f"{name}.py")


def program(path: Path) -> Any:
    """The module in a file that no package contains."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Without bytecode: cookiecutter looks for hooks in that folder.
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module
