"""Cursors that cannot be forged, and the secret that signs them."""

import base64
import json
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.errors import BadRequest, StartupError
from app.infra.http.pages import Cursors
from app.settings import Settings, describe, load_settings

CURSORS = Cursors("a secret of the test alone")
ORDERS = st.text()
SORT_KEYS = st.text() | st.integers()
IDS = st.integers(1, 2**63 - 1)
URL_SAFE = set(string.ascii_letters + string.digits + "-_")


class TestDecode:
    @given(ORDERS, SORT_KEYS, IDS)
    def test_gives_back_what_was_encoded(self, order: str, sort_key: str | int, row: int) -> None:
        """Whatever the key, in characters that need no escaping in a URL."""
        cursor = CURSORS.encode(order, sort_key, row)
        assert set(cursor) <= URL_SAFE
        assert CURSORS.decode(order, cursor) == (sort_key, row)

    @given(SORT_KEYS, IDS, st.data())
    def test_refuses_a_cursor_that_was_changed(
        self, sort_key: str | int, row: int, data: st.DataObject
    ) -> None:
        """A single bit is enough, wherever it is."""
        cursor = CURSORS.encode("products", sort_key, row)
        signed = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        bit = data.draw(st.integers(0, len(signed) * 8 - 1))
        signed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadRequest):
            CURSORS.decode("products", base64.urlsafe_b64encode(signed).decode().rstrip("="))

    @given(SORT_KEYS, IDS, st.data())
    def test_refuses_a_part_of_a_cursor(
        self, sort_key: str | int, row: int, data: st.DataObject
    ) -> None:
        """Cut off at any place."""
        cursor = CURSORS.encode("products", sort_key, row)
        end = data.draw(st.integers(0, len(cursor) - 1))
        with pytest.raises(BadRequest):
            CURSORS.decode("products", cursor[:end])

    @given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
    def test_refuses_anything_else(self, cursor: str) -> None:
        """400 with a remedy, never a crash."""
        with pytest.raises(BadRequest, match="leave it out"):
            CURSORS.decode("products", cursor)

    @given(ORDERS, ORDERS, SORT_KEYS, IDS)
    def test_refuses_the_cursor_of_another_order(
        self, order: str, other: str, sort_key: str | int, row: int
    ) -> None:
        """A price means nothing in a listing by name."""
        assume(order != other)
        with pytest.raises(BadRequest):
            CURSORS.decode(other, CURSORS.encode(order, sort_key, row))

    @given(st.text(), st.text())
    def test_belongs_to_its_secret(self, secret: str, other: str) -> None:
        """Processes take each other's cursors when they share the secret, and only then."""
        cursor = Cursors(secret).encode("products", "key", 1)
        assert Cursors(secret).decode("products", cursor) == ("key", 1)
        assume(secret != other)
        with pytest.raises(BadRequest):
            Cursors(other).decode("products", cursor)

    def test_refuses_one_that_is_only_well_formed(self) -> None:
        """Without the secret nobody can write one."""
        content = json.dumps(["key", 1]).encode()
        forged = base64.urlsafe_b64encode(b"\0" * 16 + content).decode().rstrip("=")
        with pytest.raises(BadRequest):
            CURSORS.decode("products", forged)


@pytest.mark.usefixtures("elsewhere")
class TestSecret:
    @pytest.fixture(autouse=True)
    def production(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("APP_ENVIRONMENT", "production")
        monkeypatch.setenv("APP_HTTP__ALLOWED_HOSTS", '["api.example.com"]')

    def test_has_to_be_chosen_in_production(self) -> None:
        """One sentence, with a command that makes one."""
        with pytest.raises(StartupError, match=r"^APP_SECRET_KEY must be set .*token_urlsafe"):
            load_settings()

    @pytest.mark.parametrize("secret", ["short", "*" * 10, "x" * 15])
    def test_has_to_be_long(self, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
        """And the refusal does not repeat it."""
        monkeypatch.setenv("APP_SECRET_KEY", secret)
        with pytest.raises(StartupError, match="APP_SECRET_KEY: ") as refused:
            load_settings()
        assert secret not in str(refused.value)

    def test_is_masked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever settings are shown."""
        monkeypatch.setenv("APP_SECRET_KEY", secret := "the secret of the test")
        settings = load_settings()
        assert secret not in repr(settings) + str(list(describe(settings)))

    def test_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From sixteen characters on."""
        monkeypatch.setenv("APP_SECRET_KEY", "x" * 16)
        assert isinstance(load_settings(), Settings)
