"""`compose.yaml` has the servers that the choices need, and no others."""

from pathlib import Path

import yaml
from choices import CORNERS, SERVERS, Answers, combinations, each
from conftest import Bake
from project import SCRIPTS, complaints

IMAGES = {
    ("database_driver", "asyncpg"): {"postgres"},
    ("database_driver", "psycopg"): {"postgres"},
    ("database_driver", "asyncmy"): {"mariadb"},
    ("cache_backend", "redis"): {"redis"},
    ("cache_backend", "tiered"): {"redis"},
    ("task_queue", "taskiq-redis"): {"redis"},
    ("task_queue", "taskiq-rabbitmq"): {"rabbitmq"},
    ("task_queue", "celery-redis"): {"redis"},
    ("task_queue", "celery-rabbitmq"): {"rabbitmq"},
}
PROFILES = {
    ("monitoring", "prometheus"): {"prom/prometheus", "grafana/grafana"},
    ("monitoring", "opentelemetry"): {"otel/opentelemetry-collector", "grafana/otel-lgtm"},
}
"""Those that the service does without, and that are started by the name of their prompt."""

# Whose image has nothing that could ask.
UNASKED = {"otel/opentelemetry-collector"}


def expected(images: dict[tuple[str, str], set[str]], answers: Answers) -> set[str]:
    """The images that these answers need."""
    needed = (images[choice] for choice in images if choice in answers.items())
    return set().union(*needed)


def schema_complaints(compose: Path) -> str:
    """Of the Compose specification's own schema."""
    check = SCRIPTS / "check-jsonschema"
    schema = ["--builtin-schema", "vendor.compose-spec"]
    return complaints([check, *schema, compose], compose.parent)


class TestBaked:
    @each(combinations())
    def test_servers(self, bake: Bake, answers: Answers) -> None:
        """Those of the choices, valid, and waited for until they answer; without any, no file."""
        compose = bake(answers) / "compose.yaml"
        needed, beside = expected(IMAGES, answers), expected(PROFILES, answers)
        assert compose.exists() == bool(needed | beside)
        if not compose.exists():
            return
        assert not (said := schema_complaints(compose)), said
        document = yaml.safe_load(compose.read_text(encoding="utf-8"))
        found: dict[bool, set[str]] = {True: set(), False: set()}
        mounted = set()
        for service in document["services"].values():
            image = service["image"].split(":")[0]
            found["profiles" in service].add(image)
            assert ("healthcheck" in service) == (image not in UNASKED)
            # Nobody but this machine may reach a server whose password everybody knows.
            assert all(port.startswith("127.0.0.1:") for port in service["ports"])
            mounted |= {volume.split(":")[0] for volume in service.get("volumes", ())}
        assert found == {False: needed, True: beside}
        files = {name for name in mounted if name.startswith("./")}
        assert all((compose.parent / name).exists() for name in files)
        assert mounted - files == set(document.get("volumes", ()))

    @each(combinations())
    def test_only_what_is_needed_comes_first(self, bake: Bake, answers: Answers) -> None:
        """The README starts servers before the service where it needs any, and not otherwise."""
        readme = (bake(answers) / "README.md").read_text(encoding="utf-8")
        first = readme.partition("```bash\n")[2].partition("```")[0]
        assert ("docker compose up --wait" in first) == bool(expected(IMAGES, answers))
        assert "--profile" not in first
        named = "docker compose --profile monitoring up --wait" in readme
        assert named == bool(expected(PROFILES, answers))

    def test_every_server_is_expected(self) -> None:
        """Whoever adds a choice that needs a server names it here."""
        assert {choice for choice in IMAGES if choice[0] != "monitoring"} == set(SERVERS)


class TestCaught:
    def test_mistake(self, bake: Bake, tmp_path: Path) -> None:
        """A key that Compose does not know is named."""
        text = (bake(CORNERS["asyncpg+tiered"]) / "compose.yaml").read_text(encoding="utf-8")
        compose = tmp_path / "compose.yaml"
        compose.write_text(text.replace("healthcheck:", "healthchek:"), encoding="utf-8")
        assert "healthchek" in schema_complaints(compose)
