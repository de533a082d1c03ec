"""A service that everything happens to, and a Prometheus that looks at it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from choices import Answers
from httpx2 import Client
from project import Installed, serving, working
from prometheus import Prometheus, free_port, looking
from services import PATIENCE_SECONDS, Redis

# A slice whose table was forgotten, and whose job fails.
JOBS = """\
from app.errors import Unavailable
from app.infra.tasks import Job, Run


async def send_invoice(run: Run, order_id: int) -> None:
    raise Unavailable("Nobody takes invoices today.")


JOBS = (Job(send_invoice, retry_on=(Unavailable,), attempts=2, backoff_seconds=0.2),)
"""
ROUTES = """\
from fastapi import APIRouter, Request
from sqlalchemy import text

from app.orders.jobs import send_invoice

router = APIRouter(prefix="/orders")


@router.get("/{order_id}")
async def read_order(request: Request, order_id: int) -> None:
    async with request.state.orders.reading() as connection:
        await connection.execute(text("SELECT note FROM orders"))


@router.post("/{order_id}/invoice", status_code=202)
async def send(request: Request, order_id: int) -> None:
    await request.state.tasks.submit(send_invoice, order_id=order_id)
"""
# What stands in bootstrap, and what is added behind it.
WIRING = {
    "from app.infra.lifecycle import opened\n": """\
from app.orders import jobs as orders_jobs
from app.orders import routes as orders_routes
""",
    "def include_routes(app: FastAPI, settings: Settings) -> None:\n": """\
    app.include_router(orders_routes.router, prefix=API_PREFIX)
""",
    '    state["checks"] = {"database": database.check}\n': """\
    state["orders"] = database
""",
    "    return [*catalog_jobs.JOBS": ", *orders_jobs.JOBS",
}
PRICES = "sku,name,price,currency\nP-{0},Lamp {0},19.99,EUR\n"


def add_orders(project: Path) -> None:
    """Write the slice, and its lines in bootstrap."""
    for name, source in {"__init__": "", "jobs": JOBS, "routes": ROUTES}.items():
        path = project / "app" / "orders" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")
    bootstrap = project / "app" / "bootstrap.py"
    source = bootstrap.read_text(encoding="utf-8")
    for before, added in WIRING.items():
        assert source.count(before) == 1, before
        source = source.replace(before, before + added)
    bootstrap.write_text(source, encoding="utf-8")


@dataclass
class Watched:
    """A service, who looks at it, and its Redis, which may be paused."""

    client: Client
    prometheus: Prometheus
    redis: Redis | None
    numbers: Iterator[int]
    ports: Mapping[str, int]

    def visit(self) -> None:
        """Ask for a bit of everything: what is there, what is not, what is wrong, what fails."""
        number = next(self.numbers)
        product = {"sku": f"A-{number}", "name": "Lamp", "price": "19.99", "currency": "EUR"}
        created = self.client.post("/v1/products", json=product)
        assert created.status_code == 201, created.text
        for _ in range(3):
            self.client.get(created.headers["Location"])
            self.client.get("/v1/products?limit=5")
        self.client.get("/v1/products?limit=100")
        self.client.get("/v1/products/0")
        self.client.get("/nowhere")
        self.client.post("/v1/products", json={})
        if number % 10 == 0:
            assert self.client.get(f"/v1/orders/{number}").status_code == 500
            assert self.client.post(f"/v1/orders/{number}/invoice").status_code == 202
            prices = PRICES.format(number)
            csv = {"Content-Type": "text/csv"}
            imported = self.client.post("/v1/products/import", content=prices, headers=csv)
            assert imported.status_code == 202, imported.text

    def visit_without_redis(self) -> None:
        """Go on while it hangs, until it is left alone."""
        assert self.redis is not None
        self.redis.pause()
        try:
            self.visit_until(lambda: any(self.prometheus.values("breaker_open == 1")))
        finally:
            self.redis.resume()

    def visit_until(self, condition: Callable[[], object]) -> None:
        """Go on until something holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline
            self.visit()


@contextmanager
def watched(
    project: Installed, answers: Answers, settings: Mapping[str, str], folder: Path
) -> Iterator[Watched]:
    """The service, its worker and a Prometheus; `folder` is for what they write."""
    copy = project.copy(folder / "my-service")
    add_orders(copy.path)
    ports = {"service": free_port(), "worker": free_port()}
    settings = {
        "APP_DATABASE__SLOW_STATEMENT_SECONDS": "0.002",
        "APP_MONITORING__SAMPLE_SECONDS": "0.5",
        "APP_MONITORING__PORT": str(ports["service"]),
        "APP_MONITORING__WORKER_PORT": str(ports["worker"]),
        **settings,
    }
    with ExitStack() as stack:
        redis = None
        if answers["cache_backend"] in {"redis", "tiered"}:
            redis = Redis(folder)
            stack.callback(redis.close)
            settings |= redis.settings
        client = stack.enter_context(serving(copy, **settings))
        if answers["task_queue"] not in {"in-process", "none"}:
            stack.enter_context(working(copy, **settings))
        prometheus = stack.enter_context(looking(copy.path / "monitoring", folder, ports))
        yield Watched(client, prometheus, redis, count(1), ports)
