"""`python -m app cache`, as its user runs it, beside a service that has cached something."""

from pathlib import Path

import pytest

from app import bootstrap
from app.infra.lifecycle import opened
from app.settings import load_settings
from tests.caches import Source, becomes, value
from tests.processes import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("startable", "where")]


class TestOutdating:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["invalidate", "--tag", "other", "--tag", "blue"], "other, blue is outdated.\n"),
            (["clear"], "Everything in the cache is outdated.\n"),
        ],
    )
    async def test_is_seen_by_others(self, tmp_path: Path, arguments: list[str], said: str) -> None:
        """What is asked for next is loaded anew."""
        cache = bootstrap.make_cache(load_settings())
        source = Source("old", "blue")
        async with opened(cache):
            assert await value(cache, source) == "old"
            source.value = "new"
            assert await value(cache, source) == "old"
            ended = run(tmp_path, "cache", *arguments)
            assert ended.returncode == 0, ended.stderr
            assert ended.stdout.endswith(said)
            await becomes(cache, source, "new")

    async def test_of_another_tag(self, tmp_path: Path) -> None:
        """It leaves the rest as it is."""
        cache = bootstrap.make_cache(load_settings())
        source = Source("old", "blue")
        async with opened(cache):
            await value(cache, source)
            assert run(tmp_path, "cache", "invalidate", "--tag", "red").returncode == 0
            source.value = "new"
            assert await value(cache, source) == "old"


class TestStats:
    async def test_of_all_processes(self, tmp_path: Path) -> None:
        """How much is kept, and by name what was asked for; the last word of a process included."""
        cache = bootstrap.make_cache(load_settings())
        async with opened(cache):
            for _ in range(4):
                await value(cache, Source())
        ended = run(tmp_path, "cache", "stats")
        assert ended.returncode == 0, ended.stderr
        first, *names = ended.stdout.splitlines()
        assert first.startswith("The Redis holds ")
        assert names == ["test: 75.0% of 4 hit, 0 of them stale; 1 loads; 0 errors"]


class TestServerThatIsAway:
    @pytest.mark.parametrize("command", [["stats"], ["clear"], ["invalidate", "--tag", "blue"]])
    def test_is_told(self, tmp_path: Path, command: list[str]) -> None:
        """One sentence, exit status 1, no traceback."""
        ended = run(tmp_path, "cache", *command, APP_CACHE__URL="redis://127.0.0.1:1/0")
        assert ended.returncode == 1
        assert "APP_CACHE__URL" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
