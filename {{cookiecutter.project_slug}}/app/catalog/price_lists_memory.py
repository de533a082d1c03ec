"""Price lists in a dict: a store of its own, and the double of tables in tests."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from app.catalog.csv_chunks import Chunk
from app.catalog.price_lists import PriceList, Submit
from app.errors import Conflict, Unavailable
from app.infra.tasks import Task

_MAX_CHARACTERS = 64 * 1024 * 1024


@dataclass
class _Kept:
    price_list: PriceList
    chunks: dict[int, Chunk] = field(default_factory=dict)


class MemoryPriceLists:
    """A `PriceListStore` of one process, gone when it ends."""

    def __init__(self, *, max_characters: int = _MAX_CHARACTERS) -> None:
        """`max_characters` is the size of all lists together."""
        self._kept: dict[str, _Kept] = {}
        self._characters = 0
        self._max_characters = max_characters

    async def begin(self, price_list: PriceList) -> None:
        self._kept[price_list.id] = _Kept(price_list)

    async def add(self, price_list_id: str, chunk: Chunk) -> None:
        kept = self._find(price_list_id)
        if self._characters + len(chunk.text) > self._max_characters:
            raise Unavailable(
                "Too many price lists are waiting; try again later.", retry_after_seconds=60
            )
        self._characters += len(chunk.text)
        kept.chunks[chunk.number] = chunk

    async def complete(self, price_list_id: str, rows: int, submit: Submit) -> Task:
        kept = self._find(price_list_id)
        task = await submit(price_list_id)
        kept.price_list = replace(kept.price_list, rows=rows, task_id=task.id)
        return task

    async def find(self, price_list_id: str) -> PriceList | None:
        kept = self._kept.get(price_list_id)
        return kept.price_list if kept else None

    async def chunk(self, price_list_id: str, number: int) -> Chunk | None:
        kept = self._kept.get(price_list_id)
        return kept.chunks.get(number) if kept else None

    async def after(self, price_list_id: str, limit: int) -> list[PriceList]:
        following = sorted(key for key in self._kept if key > price_list_id)[:limit]
        return [self._kept[key].price_list for key in following]

    async def remove(self, price_list_id: str, *, complete: bool = True) -> None:
        kept = self._kept.get(price_list_id)
        if kept and (complete or kept.price_list.task_id is None):
            self._characters -= sum(map(len, self._texts(kept)))
            del self._kept[price_list_id]

    def _find(self, price_list_id: str) -> _Kept:
        if price_list_id not in self._kept:
            raise Conflict("The upload took too long, and was given up; send the list again.")
        return self._kept[price_list_id]

    def _texts(self, kept: _Kept) -> Iterator[str]:
        return (chunk.text for chunk in kept.chunks.values())
