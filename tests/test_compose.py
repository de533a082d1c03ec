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
    ("monitoring", "prometheus"): {"prom/prometheus", "grafana/grafana"},
    ("monitoring", "opentelemetry"): {"otel/opentelemetry-collector", "grafana/otel-lgtm"},
}
# Whose image has nothing that could ask.
UNASKED = {"otel/opentelemetry-collector"}


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
        expected = {
            image
            for (prompt, value), images in IMAGES.items()
            if answers[prompt] == value
            for image in images
        }
        assert compose.exists() == bool(expected)
        if not expected:
            return
        assert not (said := schema_complaints(compose)), said
        found = yaml.safe_load(compose.read_text(encoding="utf-8"))["services"]
        assert {each["image"].split(":")[0] for each in found.values()} == expected
        for service in found.values():
            asked = service["image"].split(":")[0] not in UNASKED
            assert ("healthcheck" in service) == asked
            # Nobody but this machine may reach a server whose password everybody knows.
            assert all(port.startswith("127.0.0.1:") for port in service["ports"])

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
