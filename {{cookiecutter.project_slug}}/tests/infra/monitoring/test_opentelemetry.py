"""What a collector is told of the service, and what becomes of the service without one."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from fastapi import APIRouter, FastAPI
from httpx2 import AsyncClient
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from app import bootstrap
from app.infra.monitoring import listening
from app.infra.monitoring.opentelemetry import OpenTelemetrySettings
from app.infra.monitoring.sampling import sampled
from app.main import create_app
from app.settings import Settings
from tests.infra.monitoring.sending import sending_to
from tests.otlp_receiver import PATIENCE_SECONDS, Receiver, Span, receiving
from tests.recorded import Log, recorded
from tests.serving import running

BOOK = "/probe/shelves/1/books/2"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER = SpanKind.SERVER.value + 1
"""As the protocol counts them."""

probe = APIRouter(prefix="/probe")
shelf = APIRouter(prefix="/shelves/{shelf_id}")


@shelf.get("/books/{book_id}")
async def read_book(shelf_id: int, book_id: int) -> int:
    structlog.get_logger().info("own line")
    return shelf_id + book_id


@probe.get("/crash")
async def crash() -> None:
    raise LookupError("the password is 1234")


probe.include_router(shelf)


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def told(collector: Receiver, settings: Settings) -> Settings:
    """Settings of a service that sends to the collector."""
    return sending_to(collector, settings)


@asynccontextmanager
async def open_recorders(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """Nothing else, which would have things of its own to tell."""
    async with (
        listening(*bootstrap.make_recorders(settings)),
        sampled([], settings.monitoring.sample_seconds),
    ):
        yield {}


def probed(settings: Settings) -> FastAPI:
    app = create_app(settings, open_rooms=open_recorders)
    app.include_router(probe)
    return app


async def ask(
    settings: Settings,
    path: str = BOOK,
    times: int = 1,
    headers: Mapping[str, str] | None = None,
) -> list[int]:
    """The statuses of a service's answers, from its start to its end."""
    async with running(probed(settings)) as client:
        answers = [await client.get(path, headers=headers) for _ in range(times)]
    return [answer.status_code for answer in answers]


def traceparent(*, sampled: bool) -> dict[str, str]:
    return {"traceparent": f"00-{TRACE}-{PARENT}-0{int(sampled)}"}


def of_requests(collector: Receiver) -> list[Span]:
    return [span for span in collector.spans if span.kind == SERVER]


class TestSpans:
    async def test_request(self, collector: Receiver, told: Settings) -> None:
        """It is called after its route, and says which service this is."""
        assert await ask(told) == [200]
        [span] = of_requests(collector)
        assert span.name == "GET /probe/shelves/{shelf_id}/books/{book_id}"
        assert span.attributes["http.response.status_code"] == 200
        assert not span.parent_id
        assert span.resource["service.name"] == bootstrap._SLUG
        assert span.resource["service.version"] == "0.1.0"
        assert span.resource["deployment.environment.name"] == told.environment
        assert not span.failed

    async def test_trace_of_the_client(self, collector: Receiver, told: Settings) -> None:
        """It is continued."""
        await ask(told, headers=traceparent(sampled=True))
        [span] = of_requests(collector)
        assert (span.trace_id, span.parent_id) == (TRACE, PARENT)

    async def test_error(self, collector: Receiver, told: Settings) -> None:
        """A request that fails says with what, and not with which words."""
        with recorded():
            assert await ask(told, "/probe/crash") == [500]
        [span] = of_requests(collector)
        assert span.failed
        assert span.attributes["error.type"] == "LookupError"
        assert "1234" not in str(span)

    async def test_health(self, collector: Receiver, told: Settings) -> None:
        """Asked every few seconds, it is no trace."""
        assert await ask(told, "/health/live") == [200]
        assert not of_requests(collector)

    async def test_several_applications(self, collector: Receiver, told: Settings) -> None:
        """One that is built before another has ended is listened to as well."""
        second = probed(told)
        await ask(told)
        async with running(second) as client:
            await client.get(BOOK)
        assert len(of_requests(collector)) == 2
        assert len({span.resource["service.instance.id"] for span in collector.spans}) == 2


class TestLog:
    async def test_lines_carry_the_ids(self, collector: Receiver, told: Settings) -> None:
        """That of the request, and those of its handler; others have none."""
        with recorded() as log:
            await ask(told)
        [span] = of_requests(collector)
        for event in ("request", "own line"):
            [line] = log.of(event)
            assert (line["trace_id"], line["span_id"]) == (span.trace_id, span.span_id)
        assert all("trace_id" not in line for line in log.of("service started"))

    async def test_error_carries_the_ids(self, collector: Receiver, told: Settings) -> None:
        """A traceback is found from its trace."""
        with recorded() as log:
            await ask(told, "/probe/crash")
        [span] = of_requests(collector)
        [line] = log.of("request failed")
        assert (line["trace_id"], line["span_id"]) == (span.trace_id, span.span_id)


class TestSampling:
    async def test_none(self, collector: Receiver, settings: Settings) -> None:
        """No span is sent; the log has the trace, and everything is counted."""
        with recorded() as log:
            await ask(sending_to(collector, settings, sampling_ratio=0))
        assert not of_requests(collector)
        assert log.of("request")[0]["trace_id"]
        assert collector.points("http_requests_total")

    @pytest.mark.parametrize(("ratio", "sampled"), [(0, True), (1, False)])
    async def test_client_decides(
        self, collector: Receiver, settings: Settings, ratio: float, sampled: bool
    ) -> None:
        """A trace that begins elsewhere is kept there, or not."""
        told = sending_to(collector, settings, sampling_ratio=ratio)
        await ask(told, headers=traceparent(sampled=sampled))
        assert [span.trace_id for span in of_requests(collector)] == [TRACE] * sampled


class TestFigures:
    async def test_counter(self, collector: Receiver, told: Settings) -> None:
        """By the same name and labels as everywhere, and it only grows."""
        await ask(told, times=3)
        route = "/probe/shelves/{shelf_id}/books/{book_id}"
        assert collector.points("http_requests_total")["GET", route, "2xx"].as_double == 3
        family = collector.metrics["http_requests_total"]
        assert family.sum.is_monotonic
        names = {pair.key for point in family.sum.data_points for pair in point.attributes}
        assert names == {"method", "route", "status"}

    async def test_histogram(self, collector: Receiver, told: Settings) -> None:
        """In the buckets of the settings, in seconds."""
        await ask(told, times=3)
        family = collector.metrics["http_request_duration_seconds"]
        assert family.unit == "s"
        [point] = family.histogram.data_points
        assert list(point.explicit_bounds) == told.monitoring.duration_buckets_seconds
        assert point.count == sum(point.bucket_counts) == 3
        assert 0 < point.min <= point.sum / 3 <= point.max

    async def test_gauge(self, collector: Receiver, told: Settings) -> None:
        """As it is, which is no request once the service has ended."""
        await ask(told)
        [in_flight] = collector.points("http_requests_in_flight").values()
        assert in_flight.as_double == 0
        [memory] = collector.points("process_resident_memory_bytes").values()
        assert memory.as_double > 10e6
        assert collector.metrics["process_resident_memory_bytes"].unit == "By"


class TestEnd:
    async def test_the_rest_is_sent(self, collector: Receiver, settings: Settings) -> None:
        """What was to be sent in an hour is sent at the end."""
        told = sending_to(collector, settings, spans_seconds=3_600, metrics_seconds=3_600)
        await ask(told, times=5)
        assert len(of_requests(collector)) == 5
        assert collector.points("http_requests_total")

    async def test_hanging_collector(self, collector: Receiver, settings: Settings) -> None:
        """It is not waited for longer than the settings say."""
        collector.hangs.set()
        with recorded() as log:
            await ask(sending_to(collector, settings, timeout_seconds=3_600, flush_seconds=0.2))
        assert len(log.of("the last spans and figures were not sent")) == 1
        assert not collector.spans


class TestWithoutCollector:
    async def test_refused(self, settings: Settings) -> None:
        """Every request is answered, and the log says so once for each signal."""
        with socket.socket() as taken:
            # Nobody listens there.
            taken.bind(("127.0.0.1", 0))
            away = OpenTelemetrySettings(
                endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}",
                spans_seconds=0.01,
                metrics_seconds=0.01,
            )
            with recorded() as log:
                answers = await ask(settings.model_copy(update={"monitoring": away}), times=50)
        assert answers == [200] * 50
        assert sorted(line["signal"] for line in warnings(log)) == ["metrics", "traces"]

    async def test_hangs(self, collector: Receiver, settings: Settings) -> None:
        """More requests than may wait to be told are answered, and nobody hears of it."""
        collector.hangs.set()
        told = sending_to(collector, settings, queue_limit=512, timeout_seconds=3_600)
        with recorded() as log:
            async with running(probed(told)) as client:
                for _ in range(1_200):
                    assert (await client.get(BOOK)).status_code == 200
                assert not warnings(log)
                collector.hangs.clear()
        # What was lost is what came first; the rest arrives in the end.
        assert 512 <= len(of_requests(collector)) < 1_200

    async def test_comes_back(self, collector: Receiver, told: Settings) -> None:
        """Which is told, too, and nothing else."""
        collector.refuses.set()
        with recorded() as log:
            async with running(probed(told)) as client:
                await told_twice(log, "collector takes nothing", client)
                collector.refuses.clear()
                await told_twice(log, "collector takes what it is sent again", client)
        assert len(warnings(log)) == 4
        assert log.of("collector takes nothing")[0]["cause"].endswith("answered 503")

    async def test_none_is_wanted(self, settings: Settings) -> None:
        """Nothing is sent, and the log has its ids all the same."""
        alone = settings.model_copy(update={"monitoring": OpenTelemetrySettings(endpoint="none")})
        with recorded() as log:
            assert await ask(alone) == [200]
        assert log.of("request")[0]["trace_id"]
        assert not warnings(log)


async def told_twice(log: Log, event: str, client: AsyncClient) -> None:
    """Ask for something until the log has `event` for both signals."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(log.of(event)) < 2:
            await client.get(BOOK)


def warnings(log: Log) -> list[dict[str, Any]]:
    return [line for line in log.lines if line["level"] not in {"debug", "info"}]


class TestSettings:
    async def test_headers(self, collector: Receiver, settings: Settings) -> None:
        """They let the service in, and are shown to nobody."""
        headers = "authorization=Bearer a=b, tenant=c"
        told = sending_to(collector, settings, headers=headers)
        await ask(told)
        assert {request["authorization"] for request in collector.requests} == {"Bearer a=b"}
        assert {request["tenant"] for request in collector.requests} == {"c"}
        assert "Bearer" not in repr(told)

    @pytest.mark.parametrize(
        ("change", "remedy"),
        [
            ({"endpoint": "collector:4318"}, "write it like http://127.0.0.1:4318"),
            ({"headers": "Bearer abc"}, "write them like name=value"),
        ],
    )
    def test_malformed(self, change: dict[str, Any], remedy: str) -> None:
        """What cannot be is refused with its remedy, and without its secret."""
        with pytest.raises(ValidationError, match=remedy) as refused:
            OpenTelemetrySettings(**change)
        assert "abc" not in refused.value.errors()[0]["msg"]
