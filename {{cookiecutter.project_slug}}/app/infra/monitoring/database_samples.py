"""How full the pool of the database is."""

from typing import Any

from app.infra.database import Database
from app.infra.monitoring.instruments import Gauge

CONNECTIONS = Gauge("database_connections", "Connections of the pool, by what they do", ["state"])
LIMIT = Gauge("database_connections_limit", "Connections that the pool may have")


class DatabaseSamples:
    """Looks at a pool."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self) -> None:
        pool: Any = self._database.engine.pool
        CONNECTIONS.set(pool.checkedout(), "in_use")
        CONNECTIONS.set(pool.checkedin(), "idle")
        LIMIT.set(self._database.pool_limit)
