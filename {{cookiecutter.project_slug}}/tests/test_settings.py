"""Settings: complete, explained, checked, and silent about secrets."""

import os
import re
from pathlib import Path

import pytest

from app.errors import StartupError
from app.infra.http.settings import HttpSettings
from app.settings import PREFIX, Settings, describe, example, load_settings

# As they are without an environment and a .env, which nobody has taken away yet.
DESCRIBED = list(describe(Settings.model_construct()))
VARIABLES = [variable for variable, _, _ in DESCRIBED]
UNIT_IN_TEXT = re.compile("seconds|bytes|number|port|connections", re.IGNORECASE)

PRODUCTION = {
    "APP_ENVIRONMENT": "production",
    "APP_SECRET_KEY": "a secret of the test alone",
    "APP_HTTP__ALLOWED_HOSTS": '["api.example.com"]',
}


@pytest.fixture(autouse=True)
def nothing_set(no_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Not even what is set for all other tests."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    """The settings of an environment."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """The sentence with which an environment is refused."""
    with pytest.raises(StartupError) as refused:
        read(monkeypatch, **variables)
    assert refused.value.__cause__ is None
    return str(refused.value)


class TestExample:
    def test_is_up_to_date(self) -> None:
        """`python -m app settings --example > .env.example` would change nothing."""
        path = Path(__file__).parents[1] / ".env.example"
        assert path.read_text(encoding="utf-8") == example()

    def test_changes_nothing_when_taken_as_it_is(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Its lines, uncommented, set what holds without them; secrets have to be filled in."""
        path = tmp_path / ".env"
        lines = [line.removeprefix("# ") for line in example().splitlines() if "# APP_" in line]
        path.write_text("\n".join(line for line in lines if "***" not in line), encoding="utf-8")
        monkeypatch.setitem(Settings.model_config, "env_file", str(path))
        assert load_settings() == Settings.model_construct()


class TestEverySetting:
    @pytest.mark.parametrize(("variable", "value", "description"), DESCRIBED)
    def test_is_explained(self, variable: str, value: str, description: str) -> None:
        """A sentence that ends, and a unit where there is a number."""
        assert variable.startswith("APP_")
        assert description.endswith(".")
        if re.fullmatch(r"-?\d+(\.\d+)?", value):
            assert UNIT_IN_TEXT.search(description)

    @pytest.mark.parametrize(
        ("variable", "value"), [(name, value) for name, value, _ in DESCRIBED if "***" not in value]
    )
    def test_can_be_set_alone(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        """No setting needs another one to be set beside it; an empty one is not set."""
        assert read(monkeypatch, **{variable: value}) == Settings.model_construct()

    @pytest.mark.parametrize("variable", VARIABLES)
    def test_is_read_from_its_variable(
        self, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        """A value that no setting takes is refused by the setting, or taken by a text."""
        monkeypatch.setenv(variable, nonsense := "\N{SNOWMAN} of 16 letters")
        try:
            sentence = ""
            values = {name: value for name, value, _ in describe(load_settings())}
        except StartupError as error:
            sentence = str(error)
        if sentence:
            assert sentence.startswith(f"{variable}: ")
        else:
            assert nonsense in values[variable] or "***" in values[variable]


class TestMalformed:
    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("APP_ENVIRONMENT", "staging"),
            ("APP_DEBUG", "perhaps"),
            ("APP_HTTP__PORT", "http"),
            ("APP_HTTP__PORT", "65536"),
            ("APP_HTTP__WORKERS", "0"),
            ("APP_HTTP__MAX_BODY_BYTES", "0"),
            ("APP_HTTP__DRAIN_SECONDS", "-1"),
            ("APP_HTTP__SLOW_REQUEST_SECONDS", "0"),
            ("APP_HTTP__ALLOWED_HOSTS", "api.example.com"),
            ("APP_HTTP__ALLOWED_HOSTS", '["api.example.com"'),
            ("APP_HTTP__ALLOWED_HOSTS", '["api.*"]'),
            ("APP_HTTP__ALLOWED_HOSTS", "[1]"),
            ("APP_HTTP__ALLOWED_ORIGINS", '"*"'),
            ("APP_HTTP__TRUSTED_PROXIES", "null"),
            ("APP_LOGS__LEVEL", "LOUD"),
        ],
    )
    def test_names_the_variable(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        """One sentence that begins with it."""
        sentence = refusal(monkeypatch, **{variable: value})
        assert sentence.startswith(f"{variable}: ")
        assert "\n" not in sentence

    def test_names_all_that_are_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody has to start the service once for each mistake."""
        sentence = refusal(monkeypatch, APP_HTTP__PORT="x", APP_LOGS__FORMAT="xml")
        assert "APP_HTTP__PORT: " in sentence
        assert "APP_LOGS__FORMAT: " in sentence

    def test_malformed_group(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A whole room as something that is not JSON is refused as well."""
        assert "http" in refusal(monkeypatch, APP_HTTP="x")


class TestMisspelt:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [("APP_HTTP__PRT", "APP_HTTP__PORT"), ("APP_HTTP_PORT", "APP_HTTP__PORT")],
    )
    def test_is_not_ignored(self, monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
        """A limit that is set under another name would not be one."""
        monkeypatch.setenv(name, "9")
        with pytest.raises(StartupError, match=f"{name} is not a setting; did you mean {meant}"):
            load_settings()

    def test_is_somebody_else_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that is like none of ours may be the platform's."""
        monkeypatch.setenv("APP_REGION", "north")
        load_settings()


@pytest.mark.usefixtures("elsewhere")
class TestProduction:
    def test_takes_what_is_safe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hosts and secrets are named, and what else is unset is fit for production."""
        settings = read(monkeypatch, **PRODUCTION)
        assert settings.production
        assert settings.drain_seconds == 5.0

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("APP_DEBUG", "true"),
            ("APP_HTTP__ALLOWED_HOSTS", '["*"]'),
            ("APP_HTTP__ALLOWED_HOSTS", '["api.example.com", "*"]'),
            ("APP_HTTP__ALLOWED_HOSTS", ""),
        ],
    )
    def test_refuses_what_is_unsafe(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        """One sentence that names the variable and the remedy."""
        sentence = refusal(monkeypatch, **{**PRODUCTION, variable: value})
        assert re.fullmatch(rf"{variable} must .+ in production.*", sentence)

    def test_development_takes_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On one's own machine nothing has to be set."""
        settings = read(monkeypatch, APP_DEBUG="true")
        assert settings.debug
        assert settings.drain_seconds == 0.0

    def test_time_to_drain_can_be_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nought included, which is not the same as unset."""
        settings = read(monkeypatch, **PRODUCTION, APP_HTTP__DRAIN_SECONDS="0")
        assert settings.drain_seconds == 0.0


class TestDescribe:
    def test_shows_what_is_in_force(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As it could be written into .env."""
        settings = read(monkeypatch, APP_HTTP__ALLOWED_HOSTS='["a.example"]', APP_DEBUG="1")
        shown = {variable: value for variable, value, _ in describe(settings)}
        assert shown["APP_HTTP__ALLOWED_HOSTS"] == '["a.example"]'
        assert shown["APP_DEBUG"] == "true"
        assert shown["APP_HTTP__DRAIN_SECONDS"] == ""

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("queue://user:hunter2@host/0", "queue://user:***@host/0"),
            ("queue://:hunter2@host", "queue://:***@host"),
            ("db+driver://u:hunter2@a:1,u:hunter2@b:2/x", "db+driver://u:***@b:2/x"),
            ("db://u@tenant:hunter2@host/x", "db://u@tenant:***@host/x"),
            ("u:hunter2@host/x", "u:***@host/x"),
            ("db://host/x?user=u&password=hunter2&a=b", "db://host/x?user=u&password=***&a=b"),
            ("https://host/path?a=b:c@d", "https://host/path?a=b:c@d"),
            ("https://host:8000/path", "https://host:8000/path"),
            ("file:///file.txt", "file:///file.txt"),
        ],
    )
    def test_masks_passwords_in_urls(self, url: str, shown: str) -> None:
        """User and host are shown, which is what one looks for."""
        values = [value for _, value, _ in describe(HttpSettings(host=url))]
        assert shown in values
        assert "hunter2" not in "".join(values)


class TestLists:
    def test_are_lists_in_code(self) -> None:
        """Only the environment writes JSON."""
        assert HttpSettings(allowed_hosts=["a", "*.b"]).allowed_hosts == ["a", "*.b"]
