"""Law 8: imports have contracts, and the service keeps them whatever was chosen."""

import shutil
from pathlib import Path

import pytest
from choices import Answers, combinations, each
from conftest import Bake
from project import contract_complaints


class TestBaked:
    @each(combinations())
    def test_contracts_are_kept(self, bake: Bake, answers: Answers) -> None:
        """By import-linter, with what the service's own `pyproject.toml` says."""
        assert not (said := contract_complaints(bake(answers))), said


class TestCaught:
    @pytest.mark.parametrize(
        ("path", "line"),
        [
            ("app/errors.py", "import app.settings"),
            ("app/infra/logs.py", "import app.settings"),
            ("app/settings.py", "import app.bootstrap"),
            ("app/catalog/service.py", "import app.bootstrap"),
            ("app/bootstrap.py", "import app.main"),
            ("app/main.py", "import app.__main__"),
        ],
    )
    def test_import_upwards(self, bake: Bake, tmp_path: Path, path: str, line: str) -> None:
        """Each layer is kept from those above it."""
        project = shutil.copytree(bake({}), tmp_path / "service")
        with (project / path).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
        assert "BROKEN" in contract_complaints(project)

    def test_import_of_a_backend(self, bake: Bake, tmp_path: Path) -> None:
        """A slice's rules ask for a protocol; only bootstrap knows which store answers."""
        project = shutil.copytree(bake({}), tmp_path / "service")
        with (project / "app/catalog/service.py").open("a", encoding="utf-8") as file:
            file.write("\nimport app.catalog.repository\n")
        assert "BROKEN" in contract_complaints(project)

    @pytest.mark.parametrize("path", ["app/infra/http/request.py", "app/catalog/service.py"])
    def test_import_of_who_listens(self, bake: Bake, tmp_path: Path, path: str) -> None:
        """A room or a slice records, and bootstrap alone knows who listens."""
        project = shutil.copytree(bake({}), tmp_path / "service")
        with (project / path).open("a", encoding="utf-8") as file:
            file.write("\nimport app.infra.monitoring.prometheus\n")
        assert "Whoever records does not know who listens BROKEN" in contract_complaints(project)

    def test_slice_that_imports_another(self, bake: Bake, tmp_path: Path) -> None:
        """Slices do not know each other; a new one stands beside the others in the layers."""
        project = shutil.copytree(bake({}), tmp_path / "service")
        pyproject = project / "pyproject.toml"
        layers = pyproject.read_text(encoding="utf-8")
        assert '    "app.catalog",\n' in layers
        layers = layers.replace('    "app.catalog",\n', '    "app.catalog | app.orders",\n')
        pyproject.write_text(layers, encoding="utf-8")
        (project / "app/orders").mkdir()
        (project / "app/orders/__init__.py").write_text("import app.catalog\n", encoding="utf-8")
        assert "BROKEN" in contract_complaints(project)
