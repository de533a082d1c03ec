"""Statements that are made once and asked again and again, in the driver's own words."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Dialect, Select
from sqlalchemy.sql.dml import ReturningInsert

Row = Sequence[Any]
Fetch = Callable[[Any, str, Sequence[Any]], Awaitable[Sequence[Row]]]
"""Asks a driver's own connection: with SQL and its parameters, for rows."""
_Convert = Callable[[Any], Any] | None


class Prepared:
    """A statement; what changes from one time to the next is in `bindparam`s, or in `columns`."""

    def __init__(
        self, statement: Select[Any] | ReturningInsert[Any], columns: Sequence[str] | None = None
    ) -> None:
        """`columns` are those that an insert sets."""
        self.statement = statement
        self._columns = columns
        self._made: tuple[Dialect, _Text] | None = None

    def text(self, dialect: Dialect) -> "_Text":
        """How `dialect` says it."""
        if self._made is None or self._made[0] is not dialect:
            self._made = (dialect, self._compiled(dialect))
        return self._made[1]

    def _compiled(self, dialect: Dialect) -> "_Text":
        compiled: Any = self.statement.compile(dialect=dialect, column_keys=self._columns)
        types = [column.type.dialect_impl(dialect) for column in self.statement.exported_columns]
        converts = [each.result_processor(dialect, None) for each in types]
        return _Text(
            sql=str(compiled),
            _parameters=[
                (
                    name,
                    compiled.params[name],
                    compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect),
                )
                for name in compiled.positiontup
            ],
            _columns=[(index, convert) for index, convert in enumerate(converts) if convert],
        )


@dataclass(frozen=True, slots=True)
class _Text:
    sql: str
    _parameters: Sequence[tuple[str, Any, _Convert]]
    """Their names in order, their values where none is given, and what drivers take for these."""
    _columns: Sequence[tuple[int, Callable[[Any], Any]]]
    """Those whose values drivers return in another type."""

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """The parameters, as the driver takes them."""
        return [
            convert(given.get(name, usual)) if convert else given.get(name, usual)
            for name, usual, convert in self._parameters
        ]

    def rows(self, found: Sequence[Row]) -> Sequence[Row]:
        """What the driver has returned, as the columns of the statement declare it."""
        if not self._columns:
            return found
        rows = []
        for row in found:
            values = list(row)
            for index, convert in self._columns:
                values[index] = convert(values[index])
            rows.append(values)
        return rows
