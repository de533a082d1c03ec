"""What the tests ask of SQLite alone."""

import re
from typing import Any

from sqlalchemy import Select

from app.infra.database import Database
from tests.databases import Plan


async def explain(database: Database, statement: Select[Any]) -> Plan:
    """How `statement` would be executed."""
    async with database.engine.connect() as connection:
        await connection.exec_driver_sql("ANALYZE")
        compiled = statement.compile(
            dialect=connection.dialect, compile_kwargs={"literal_binds": True}
        )
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
        steps = [row.detail for row in rows]
    index = re.search(r"USING INDEX (\w+)", steps[0])
    return Plan(
        index=index[1] if index else None,
        bounded=steps[0].startswith("SEARCH"),
        sorts=any("B-TREE" in step for step in steps),
    )
