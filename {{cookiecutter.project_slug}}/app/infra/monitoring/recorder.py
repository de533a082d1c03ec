"""Who listens to the instruments."""

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)

from app.infra.monitoring.instruments import Instrument, Record, declared


class Recorder:
    """Listens to nothing. What listens is derived from it, and takes from it what it does not."""

    def of(self, _instrument: Instrument) -> Record | None:
        """What is to be done with each amount of this instrument."""
        return None

    def carried(self) -> str | None:
        """The trace that is under way, as a `traceparent` of W3C's Trace Context."""
        return None

    def continued(self, _name: str, _trace: str | None) -> AbstractContextManager[object]:
        """Surrounds work that was asked for in another trace."""
        return nullcontext()

    def part(self, _name: str) -> AbstractContextManager[object]:
        """Surrounds a part of what is under way."""
        return nullcontext()

    def failed(self, error: BaseException, **tags: str) -> None:
        """Take note of an error that nobody handled; `tags` say where it came up."""

    def refused(self, error: BaseException) -> None:
        """Take note that what is under way has failed in a way that was foreseen."""

    async def close(self) -> None:
        """Pass on what was not passed on yet; the process may be about to end."""


_recorders: list[Recorder] = []


@asynccontextmanager
async def listening(*recorders: Recorder) -> AsyncIterator[None]:
    """Let `recorders` hear of everything in this process while the block runs, and close them."""
    before = _recorders[:]
    _listen(*recorders)
    try:
        yield
    finally:
        _listen(*before)
        for each in recorders:
            await each.close()


def carried() -> str | None:
    """The trace that is under way, for work that is done elsewhere, if there is one."""
    return next((trace for each in _recorders if (trace := each.carried())), None)


@contextmanager
def continued(name: str, trace: str | None) -> Iterator[None]:
    """Surrounds work called `name` that was asked for in `trace`."""
    with ExitStack() as stack:
        for each in _recorders:
            stack.enter_context(each.continued(name, trace))
        yield


@contextmanager
def part(name: str) -> Iterator[None]:
    """Surrounds a part, called `name`, of what is under way, if anything is."""
    with ExitStack() as stack:
        for each in _recorders:
            stack.enter_context(each.part(name))
        yield


def failed(error: BaseException, **tags: str) -> None:
    """Tell of an error that nobody handled; `tags` say where it came up."""
    for each in _recorders:
        each.failed(error, **tags)


def refused(error: BaseException) -> None:
    """Tell that what is under way has failed in a way that was foreseen."""
    for each in _recorders:
        each.refused(error)


def _listen(*recorders: Recorder) -> None:
    _recorders[:] = recorders
    declared.connect(_find)


def _find(instrument: Instrument) -> Record | None:
    return next((record for each in _recorders if (record := each.of(instrument))), None)
