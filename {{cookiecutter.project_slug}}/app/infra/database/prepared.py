"""Statements that are made once and asked again and again, in the driver's own words."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Dialect, Select
from sqlalchemy.sql.dml import ReturningInsert

Row = Sequence[Any]
Found = Sequence[Row]
Fetch = Callable[[Any, str, Sequence[Any]], Awaitable[Found]]
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
        self._texts: WeakKeyDictionary[Dialect, Text | None] = WeakKeyDictionary()

    def text(self, dialect: Dialect) -> "Text | None":
        """How `dialect` says it; None where SQLAlchemy has more to do than to say it."""
        try:
            return self._texts[dialect]
        except KeyError:
            text = self._texts[dialect] = self._compiled(dialect)
            return text

    def _compiled(self, dialect: Dialect) -> "Text | None":
        compiled: Any = self.statement.compile(dialect=dialect, column_keys=self._columns)
        # Values that are made for each execution, lists that become as many parameters as they
        # have items, and names that are not those which the caller gives.
        if compiled.insert_prefetch or compiled.post_compile_params or compiled.escaped_bind_names:
            return None
        types = [column.type.dialect_impl(dialect) for column in self.statement.exported_columns]
        try:
            converts = [each.result_processor(dialect, None) for each in types]
        except TypeError:  # it wants to know what the driver calls the type
            return None
        return Text(
            sql=str(compiled),
            _parameters=[
                (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
                for name in compiled.positiontup
            ],
            _fixed={
                name: compiled.params[name]
                for name in compiled.positiontup
                if not compiled.binds[name].required
            },
            _columns=[(index, convert) for index, convert in enumerate(converts) if convert],
        )


@dataclass(frozen=True, slots=True)
class Text:
    """A statement as the driver takes it, and what is to be done with what goes in and out."""

    sql: str
    _parameters: Sequence[tuple[str, _Convert]]
    """Their names in order, and what makes of their values what drivers take."""
    _fixed: Mapping[str, Any]
    """The values of those that the statement itself has."""
    _columns: Sequence[tuple[int, Callable[[Any], Any]]]
    """Those whose values drivers return in another type."""

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """The parameters, as the driver takes them; raises what their types do."""
        if self._fixed:
            given = {**self._fixed, **given}
        return [
            convert(given[name]) if convert else given[name] for name, convert in self._parameters
        ]

    def rows(self, found: Found) -> Found:
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
