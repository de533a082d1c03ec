"""What is set for a database server: its share for each worker, and what connections are like."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from app import bootstrap
from app.errors import StartupError, TryAgain
from app.infra.database import Database
from app.infra.database.dialect import Failure
from app.infra.database.server import ServerSettings
from app.settings import Settings, load_settings
from tests.databases import opened, with_database
from tests.processes import environment, run
from tests.servers import PrivateServer

ONE = text("SELECT 1")
PATIENCE_SECONDS = 60

workers_and_connections = st.integers(1, 256).flatmap(
    lambda workers: st.tuples(st.just(workers), st.integers(workers, 10_000))
)


def settings_of(**changes: Any) -> ServerSettings:
    database: object = with_database(Settings(), **changes).database
    assert isinstance(database, ServerSettings)
    return database


class TestShares:
    @given(workers_and_connections)
    def test_defaults_fit(self, both: tuple[int, int]) -> None:
        """Whatever the server allows, every worker gets a connection, and all together no more."""
        workers, allowed = both
        size, overflow = settings_of(max_connections=allowed).pool_bounds(workers)
        assert (size, overflow) == (min(allowed // workers, 20), 0)

    @given(workers_and_connections, st.integers(1, 10_000), st.integers(0, 10_000))
    def test_what_is_set_is_taken_or_refused(
        self, both: tuple[int, int], size: int, overflow: int
    ) -> None:
        """As it is, never trimmed in silence."""
        workers, allowed = both
        settings = settings_of(max_connections=allowed, pool_size=size, pool_overflow=overflow)
        if workers * (size + overflow) <= allowed:
            assert settings.pool_bounds(workers) == (size, overflow)
        else:
            with pytest.raises(ValueError, match=rf"^{workers} workers with {size} \+ {overflow}"):
                settings.pool_bounds(workers)

    @given(workers_and_connections, st.integers(0, 10_000))
    def test_what_is_opened_when_busy_is_part_of_the_share(
        self, both: tuple[int, int], overflow: int
    ) -> None:
        """A worker keeps what that leaves, and at least one connection."""
        workers, allowed = both
        share = allowed // workers
        settings = settings_of(max_connections=allowed, pool_overflow=overflow)
        if overflow < share:
            assert settings.pool_bounds(workers) == (min(share - overflow, 20), overflow)
        else:
            with pytest.raises(ValueError, match="start fewer workers"):
                settings.pool_bounds(workers)

    @pytest.mark.parametrize(
        ("workers", "changes"),
        [(81, {}), (2, {"pool_size": 41}), (1, {"pool_size": 1, "pool_overflow": 80})],
    )
    def test_too_much_is_refused(self, workers: int, changes: dict[str, int]) -> None:
        """One sentence that names the limit and the remedies, before anything connects."""
        settings = with_database(Settings(), max_connections=80, **changes)
        http = settings.http.model_copy(update={"workers": workers})
        with pytest.raises(StartupError) as refusal:
            bootstrap.make_database(settings.model_copy(update={"http": http}))
        sentence = str(refusal.value)
        assert sentence.startswith(f"{workers} workers with ")
        assert "APP_DATABASE__MAX_CONNECTIONS=80; start fewer workers" in sentence


@pytest.mark.slow
@pytest.mark.usefixtures("startable")
class TestWorkers:
    def test_option_counts_before_anything_starts(self, tmp_path: Path) -> None:
        """More workers than connections are refused in one sentence."""
        ended = run(
            tmp_path, "serve", "--port", "0", "--workers", "3", APP_DATABASE__MAX_CONNECTIONS="2"
        )
        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1].startswith("Error: 3 workers with 1 + 0 connections")

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
    def test_option_reaches_each_worker(self, tmp_path: Path) -> None:
        """One that is started later divides by it too, here what has become too little for two."""
        limit, log = tmp_path / ".env", tmp_path / "log"
        limit.write_text("APP_DATABASE__MAX_CONNECTIONS=4\n")
        with serving(log, "--workers", "2", APP_DATABASE__POOL_SIZE="2") as process:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while len(pids := re.findall(r"Started server process \[(\d+)\]", log.read_text())) < 2:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.01)
            limit.write_text("APP_DATABASE__MAX_CONNECTIONS=3\n")
            os.kill(int(pids[0]), signal.SIGKILL)
            assert process.wait(PATIENCE_SECONDS) == 1
        assert "2 workers with 2 + 0 connections each are more" in log.read_text()


@contextmanager
def serving(log: Path, *options: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """`serve` in the folder of `log`."""
    command = [sys.executable, "-m", "app", "serve", "--port", "0", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=log.parent, env=environment(**settings), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


class TestProduction:
    def test_needs_a_url_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """That of development would mean somebody's laptop."""
        monkeypatch.setenv("APP_ENVIRONMENT", "production")
        with pytest.raises(StartupError, match="APP_DATABASE__URL must be set"):
            load_settings()
        monkeypatch.setenv("APP_DATABASE__URL", "driver://database.example.com/app")
        with pytest.raises(StartupError) as refusal:
            load_settings()
        assert "APP_DATABASE__URL" not in str(refusal.value)


class TestConnections:
    async def test_statement_time_out_is_the_servers(self, new_database: str, sleep: str) -> None:
        """It cancels what nobody here keeps the time of."""
        settings = with_database(Settings(), url=new_database, statement_timeout_seconds=0.1)
        async with opened(settings) as database, database.engine.connect() as connection:
            with pytest.raises(DBAPIError) as cancelled:
                await connection.execute(text(sleep))
            assert database.dialect.failure(cancelled.value) is Failure.LATE

    @pytest.mark.parametrize(
        ("setting", "age_seconds", "kept"), [(900, 800, True), (900, 901, False), (-1, 901, True)]
    )
    async def test_recycle(
        self, new_database: str, setting: int, age_seconds: int, kept: bool
    ) -> None:
        """A connection that is older than that is replaced before its next use."""
        settings = with_database(Settings(), url=new_database, pool_recycle_seconds=setting)
        async with opened(settings) as database:

            @event.listens_for(database.engine.sync_engine, "checkin")
            def grow_old(_connection: object, record: Any) -> None:
                record.starttime -= age_seconds

            assert (await connection_of(database) is await connection_of(database)) == kept

    async def test_pre_ping(self, private_server: PrivateServer) -> None:
        """With it, a read that nobody repeats meets no connection that died since its last use."""
        settings = with_database(Settings(), url=private_server.url)
        async with (
            opened(settings) as trusting,
            opened(settings, pool_pre_ping=True) as asking,
        ):
            for database in (trusting, asking):
                await read(database)
            private_server.stop()
            private_server.start()
            await read(asking)
            with pytest.raises(TryAgain):
                await read(trusting)


async def read(database: Database) -> None:
    async with database.reading() as connection:
        await connection.execute(ONE)


async def connection_of(database: Database) -> object:
    """What the driver calls the connection that a read is lent; it goes back to the pool."""
    async with database.reading() as connection:
        return (await connection.get_raw_connection()).driver_connection
