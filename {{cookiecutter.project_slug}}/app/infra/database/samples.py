"""How full the pool of the database is."""

from typing import Any

from app.infra.database import Database
from app.infra.monitoring.instruments import Gauge

CONNECTIONS = Gauge(
    "database_connections", "Connections of the pool, by what they do", ["database", "state"]
)
LIMIT = Gauge("database_connections_limit", "Connections that the pool may have", ["database"])


class DatabaseSamples:
    """Looks at the pools of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self) -> None:
        for database in self._database.members():
            pool: Any = database.engine.pool
            CONNECTIONS.set(pool.checkedout(), database.name, "in_use")
            CONNECTIONS.set(pool.checkedin(), database.name, "idle")
            LIMIT.set(database.pool_limit, database.name)
