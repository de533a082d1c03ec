"""CSV as it arrives (RFC 4180), cut into pieces that are read one by one.

The cuts are where `csv.reader` ends a record, so that a value with line ends in it stays whole.
"""

import asyncio
import codecs
import io
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from dataclasses import dataclass

from app.errors import BadRequest

MAX_ROWS = 500
"""Of a chunk."""
MAX_BYTES = 60_000
"""Of a chunk, as UTF-8: no store has to keep a longer text."""
MAX_RECORD_CHARACTERS = 10_000
"""Of a record: four bytes each fit in a chunk."""

_LINE_ENDS = ("\n", "\r")
_BLANK = frozenset({"\n", "\r", "\r\n"})
_LONGEST_GAP = 10_000
"""Blank lines that stand within a chunk, for the lines behind them to be counted."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole records that stand together."""

    number: int
    """Counts from 0; that one is the header line, and nothing else."""
    line: int
    """The line of the upload in which it begins, counted from 1."""
    rows: int
    """Its records; blank lines are none."""
    text: str


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    lines: int
    text: str


async def cut(pieces: AsyncIterable[bytes]) -> AsyncGenerator[Chunk, None]:
    """Chunks of the UTF-8 in `pieces`, wherever these are cut; a byte order mark is left out.

    Raises:
        BadRequest: it is no such text, a record is too long, or a quotation mark is missing.
    """
    records = _Records()
    chunks = _Chunks()
    async for piece in pieces:
        # What has arrived already nobody waits for, and others want to be served.
        await asyncio.sleep(0)
        for record in records.feed(piece):
            for chunk in chunks.add(record):
                yield chunk
    for record in records.end():
        for chunk in chunks.add(record):
            yield chunk
    for chunk in chunks.end():
        yield chunk


class _Records:
    def __init__(self) -> None:
        utf_8 = codecs.getincrementaldecoder("utf-8-sig")()
        # It never separates the two characters of a line end.
        self._decoder = io.IncrementalNewlineDecoder(utf_8, translate=False)
        self._line = 1
        self._parts: list[str] = []  # of the line that has not ended
        self._lines: list[str] = []  # of the record that has not ended
        self._characters = 0
        self._quoted = False

    def feed(self, piece: bytes, *, last: bool = False) -> Iterator[_Record]:
        # Lines as `csv.reader` knows them; there are more in Unicode.
        for part in io.StringIO(self._decode(piece, last=last), newline=""):
            if part in _BLANK and not self._parts and not self._lines:
                self._line += 1
                continue
            self._parts.append(part)
            self._characters += len(part)
            if self._characters > MAX_RECORD_CHARACTERS:
                raise BadRequest(
                    f"The record that begins in line {self._line} has more than"
                    f" {MAX_RECORD_CHARACTERS:,} characters; shorten it, or close the quotation"
                    " mark that is open there."
                )
            if part.endswith(_LINE_ENDS):
                yield from self._end_line()

    def end(self) -> Iterator[_Record]:
        yield from self.feed(b"", last=True)
        if self._parts:
            yield from self._end_line()
        if self._lines:
            raise BadRequest(
                f"The record that begins in line {self._line} has no end; close the quotation mark"
                " that is open there."
            )

    def _end_line(self) -> Iterator[_Record]:
        line = "".join(self._parts)
        self._parts.clear()
        self._lines.append(line)
        self._quoted = _ends_quoted(line, quoted=self._quoted)
        if not self._quoted:
            yield _Record(self._line, len(self._lines), "".join(self._lines))
            self._line += len(self._lines)
            self._lines.clear()
            self._characters = 0

    def _decode(self, piece: bytes, *, last: bool) -> str:
        after = self._line + len(self._lines)
        try:
            text = self._decoder.decode(piece, final=last)
        except UnicodeDecodeError:
            raise BadRequest(
                f"The list is not UTF-8, somewhere from line {after} on; save it as UTF-8."
            ) from None
        if "\0" in text:  # which not every store can keep
            raise BadRequest(
                f"The list has the character U+0000, somewhere from line {after} on; remove it."
            )
        return text


class _Chunks:
    def __init__(self) -> None:
        self._number = 0
        self._texts: list[str] = []
        self._line = 0
        """In which the chunk begins."""
        self._next_line = 0
        """Behind its last record."""
        self._bytes = 0

    def add(self, record: _Record) -> Iterator[Chunk]:
        gap = record.line - self._next_line if self._texts else 0
        size = len(record.text.encode())
        full = len(self._texts) == MAX_ROWS or self._bytes + gap + size > MAX_BYTES
        if full or gap > _LONGEST_GAP:
            yield from self.end()
            gap = 0
        if not self._texts:
            self._line = record.line
        # A line feed would become one with a carriage return before it.
        self._texts.append("\r" * gap + record.text)
        self._next_line = record.line + record.lines
        self._bytes += gap + size
        if self._number == 0:
            yield from self.end()

    def end(self) -> Iterator[Chunk]:
        if self._texts:
            yield Chunk(self._number, self._line, len(self._texts), "".join(self._texts))
            self._number += 1
            self._texts.clear()
            self._bytes = 0


def _ends_quoted(line: str, *, quoted: bool) -> bool:
    """Whether the end of `line` belongs to a quoted value; `quoted` tells it of the line before.

    As `csv.reader` sees it: a quotation mark counts where a value begins, and ends it unless it is
    doubled; what follows up to the comma is taken as it is.
    """
    at = 0
    while True:
        if not quoted and line.startswith('"', at):
            quoted = True
            at += 1
        if quoted:
            at = line.find('"', at)
            if at < 0:
                return True
            if line.startswith('""', at):
                at += 2
                continue
            quoted = False
        at = line.find(",", at) + 1
        if at == 0:
            return False
