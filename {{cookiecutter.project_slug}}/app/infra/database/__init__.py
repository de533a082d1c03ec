"""The database: engine, units of work, migrations.

`Database` is opened once per process. `reading()` lends a connection for plain statements,
`writing()` a session that is committed at the end or rolled back. Slices declare their tables on
`Base` and leave their revisions in a folder of their own.
"""

from app.infra.database.dialect import Dialect
from app.infra.database.engine import Database
from app.infra.database.prepared import Prepared
from app.infra.database.settings import DatabaseSettings
from app.infra.database.tables import Base, CodePoints, Hundredths, Identity, UtcDateTime

__all__ = [
    "Base",
    "CodePoints",
    "Database",
    "DatabaseSettings",
    "Dialect",
    "Hundredths",
    "Identity",
    "Prepared",
    "UtcDateTime",
]
