"""`python -m app cache`: what is cached, and how to outdate it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import click

from app.errors import StartupError
from app.infra.cache.backend import CacheUnavailable, Usage
from app.infra.cache.cache import Cache
from app.infra.cache.figures import Figures

Result = TypeVar("Result")


def add_to(group: click.Group, make_cache: Callable[[], Cache]) -> None:
    """Add the commands of this room; `make_cache` reads the settings when one is run."""

    def run(work: Callable[[Cache], Awaitable[Result]]) -> Result:
        async def run() -> Result:
            cache = make_cache()
            try:
                return await work(cache)
            except CacheUnavailable as error:
                raise StartupError(
                    f"The cache does not answer ({error}); start it or correct APP_CACHE__URL."
                ) from None
            finally:
                await cache.close()

        return asyncio.run(run())

    @group.group(name="cache")
    def commands() -> None:
        """Look at what all processes have cached, or outdate it."""

    @commands.command()
    def stats() -> None:
        """Print how much the Redis holds, and by name what the service has asked for so far."""
        usage, totals = run(_stats)
        click.echo(
            f"The Redis holds {usage.entries} keys in {usage.bytes} bytes, and has evicted"
            f" {usage.evictions}."
        )
        for name, figures in sorted(totals.items()):
            asked = figures.hits + figures.stale_hits + figures.misses
            rate = (figures.hits + figures.stale_hits) / asked if asked else 0
            click.echo(
                f"{name}: {rate:.1%} of {asked:.0f} hit, {figures.stale_hits:.0f} of them stale;"
                f" {figures.loads:.0f} loads; {figures.errors:.0f} errors"
            )

    @commands.command()
    @click.option("--tag", "tags", multiple=True, required=True, help="May be given repeatedly.")
    def invalidate(tags: tuple[str, ...]) -> None:
        """Outdate what depends on a tag."""
        run(lambda cache: cache.backend.forget((), tags))
        click.echo(f"What depends on {', '.join(tags)} is outdated.")

    @commands.command()
    def clear() -> None:
        """Outdate everything."""
        run(lambda cache: cache.clear())
        click.echo("Everything in the cache is outdated.")


async def _stats(cache: Cache) -> tuple[Usage, Mapping[str, Figures]]:
    return await cache.usage(), await cache.backend.totals()
