"""How full the pool of the database is."""

from app.infra.database.samples import DatabaseSamples
from app.infra.monitoring import listening
from app.settings import Settings
from tests.databases import opened
from tests.figures import Figures


class TestPool:
    async def test_connections(self, settings: Settings) -> None:
        """Those that are used, those that wait, and how many there may be."""
        async with opened(settings) as database:
            figures = Figures()
            samples = DatabaseSamples(database)
            async with listening(figures):
                async with database.reading(), database.reading():
                    await samples.take()
                    assert connections(figures, "in_use") == 2
                await samples.take()
            assert connections(figures, "in_use") == 0
            assert connections(figures, "idle") == 2
            limit = figures.last("database_connections_limit", database.name)
            assert limit == database.pool_limit


def connections(figures: Figures, state: str) -> float | None:
    return figures.last("database_connections", "database", state)
