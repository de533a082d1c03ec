"""Cutting CSV where `csv.reader` would."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalog.csv_chunks import MAX_BYTES, MAX_RECORD_CHARACTERS, MAX_ROWS, Chunk, cut
from app.errors import BadRequest
from app.infra.lifecycle import ended

# What decides where records end, among what does not.
AWKWARD = st.text(st.sampled_from('",\n\ra é\u2028\x0b'), max_size=60)


async def chunks_of(*pieces: bytes) -> list[Chunk]:
    async def arriving() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [chunk async for chunk in cut(arriving())]


def parsed(texts: Iterable[str]) -> list[list[str]]:
    return [row for text in texts for row in csv.reader(io.StringIO(text, newline="")) if row]


def placed_in(text: str, line: int) -> list[tuple[int, list[str]]]:
    """The rows of `text`, which begins in `line`, with the lines in which they begin."""
    reader = csv.reader(io.StringIO(text, newline=""))
    rows = []
    begin = 1
    for row in reader:
        if row:
            rows.append((line - 1 + begin, row))
        begin = reader.line_num + 1
    return rows


class TestCut:
    @given(text=AWKWARD, size=st.integers(1, 7))
    async def test_records_as_the_reader_sees_them(self, text: str, size: int) -> None:
        """Wherever the network cuts, and whatever is quoted how: the same rows, line by line."""
        data = text.encode()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        try:
            chunks = await chunks_of(*pieces)
        except BadRequest:
            # An open quotation mark: the reader makes what follows a part of the value.
            assert parsed([text + "\nx"])[-1] != ["x"]
            return
        assert parsed([text + "\nx"])[-1] == ["x"]
        placed = [row for chunk in chunks for row in placed_in(chunk.text, chunk.line)]
        assert placed == placed_in(text, 1)
        for chunk in chunks:
            assert chunk.rows == len(parsed([chunk.text]))

    async def test_header_stands_alone(self) -> None:
        """And comes as soon as its line has ended."""
        head, rest = await chunks_of(b"a,b\n1,2\n3,", b"4")
        assert head == Chunk(0, 1, 1, "a,b\n")
        assert rest == Chunk(1, 2, 2, "1,2\n3,4")

    async def test_byte_order_mark(self) -> None:
        """Is no part of the text, even when it comes in pieces."""
        (head,) = await chunks_of(b"\xef", b"\xbb", b"\xbfa,b")
        assert head.text == "a,b"

    @pytest.mark.parametrize("row", ["a,b\n", "é" * 9_000 + "\n", '"' + "\n" * 500 + '"\n'])
    async def test_bounds(self, row: str) -> None:
        """A chunk has so many rows and bytes at most, in UTF-8."""
        chunks = await chunks_of(("h\n" + row * 1_200).encode())
        assert max(chunk.rows for chunk in chunks) <= MAX_ROWS
        assert max(len(chunk.text.encode()) for chunk in chunks) <= MAX_BYTES
        assert sum(chunk.rows for chunk in chunks) == 1_201
        assert [chunk.number for chunk in chunks] == list(range(len(chunks)))

    @pytest.mark.parametrize("blank", [5, 1_000_000])
    async def test_blank_lines(self, blank: int) -> None:
        """They are counted, and hardly kept."""
        head, *rest = await chunks_of(b"h\n1\n" + b"\n" * blank + b"2\n")
        placed = [row for chunk in rest for row in placed_in(chunk.text, chunk.line)]
        assert placed == [(2, ["1"]), (3 + blank, ["2"])]
        assert sum(len(chunk.text) for chunk in rest) < 100
        assert (head.rows, sum(chunk.rows for chunk in rest)) == (1, 2)

    async def test_others_have_their_turn(self) -> None:
        """However much has arrived at once."""
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(take_turns())
        await chunks_of(*[b"\n" * 100] * 1_000)
        await ended(others)
        assert turns >= 1_000

    async def test_nothing(self) -> None:
        """An empty upload has no chunk, not even a header."""
        assert await chunks_of() == await chunks_of(b"\xef\xbb\xbf") == []


class TestRefusals:
    @pytest.mark.parametrize("open_mark", ["", '"'])
    async def test_endless_record(self, open_mark: str) -> None:
        """It is refused as soon as it is too long, not when memory is full."""
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            yield f"h\nok\n{open_mark}".encode()
            while True:
                sent += 100
                yield (b"x" * 99) + (b"\n" if open_mark else b"x")

        with pytest.raises(BadRequest, match="begins in line 3 has more than 10,000 characters"):
            async for _ in cut(endless()):
                pass
        assert sent <= MAX_RECORD_CHARACTERS + 100

    async def test_open_quotation_mark(self) -> None:
        """The line where it stands is named."""
        with pytest.raises(BadRequest, match="begins in line 3 has no end"):
            await chunks_of(b'a\nb\n"c\nd\n')

    @pytest.mark.parametrize("data", [b"\xff", "é".encode()[:1]])
    async def test_other_encodings(self, data: bytes) -> None:
        """Also a character that breaks off at the end."""
        with pytest.raises(BadRequest, match="not UTF-8, somewhere from line 3 on"):
            await chunks_of(b"a\nb\n", data)

    async def test_nul(self) -> None:
        """Some stores could not keep it."""
        with pytest.raises(BadRequest, match=r"U\+0000"):
            await chunks_of(b"a\nb\0\n")
