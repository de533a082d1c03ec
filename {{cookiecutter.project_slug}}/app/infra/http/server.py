"""Uvicorn, made to stop without losing a request.

Uvicorn closes its listener and its idle connections the moment it is told to stop, and so loses
the request which a client has just written to either. Here a process told to stop by SIGTERM

1. says so (`Drain`) and keeps serving for the drain time, while clients and load balancers leave;
2. has the kernel ignore new connections, takes in those made before, and closes the listener;
3. answers what arrived last, finishes the requests in flight, shuts the application down
   and exits with status 0.

SIGINT, which is Ctrl-C in a terminal, skips the drain; a second signal cuts it short.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from threading import Thread
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import HANDLED_SIGNALS
from uvicorn.supervisors import ChangeReload, Multiprocess, multiprocess

from app.errors import StartupError
from app.infra.http.drain import Drain
from app.infra.listener import has_backlog, ignore_newcomers

_TICK_SECONDS = 0.1
# The supervisor looks at its signals twice a second. A worker that was signalled along with it,
# as systemd does, must not close its listener before the supervisor has closed its own.
_SUPERVISOR_LAG_SECONDS = 1.0
# Uvloop accepts one connection in each turn of the loop from each listener. In a crowd a turn takes
# long, and who came last would wait for as many turns as there are others.
_LISTENERS = 16
# Counted in ticks, each of which is a turn of the loop or more however long a turn takes: for
# handshakes under way (some round trips); for uvloop, which accepts one connection a turn, to
# accept a backlog; and for the clients accepted last to write their first request.
_HANDSHAKE_TICKS = 2
_BACKLOG_TICKS = 50
_LINGER_TICKS = 10

logger = logging.getLogger("uvicorn.error")


def run(config: uvicorn.Config, *, drain_seconds: float) -> None:
    """Serve until told to stop; return after a graceful stop, whichever signal asked for it.

    `drain_seconds` is how long the listener stays open after SIGTERM, 0 or more. It counts when
    serving for real: with `reload`, and on SIGINT, the server stops at once. To be found
    unready in time, give it more than the load balancer's interval times its threshold.

    Raises:
        SystemExit: the application does not start; the log says why. The status is 1.
    """
    try:
        if config.should_reload:
            sockets = [config.bind_socket()]
            ChangeReload(config, target=uvicorn.Server(config).run, sockets=sockets).run()
        elif config.workers > 1:
            supervisor = Supervisor(config, [config.bind_socket()], drain_seconds=drain_seconds)
            supervisor.run()
            if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
                sys.exit(STARTUP_FAILURE)
        else:
            DrainingServer(config, drain_seconds=drain_seconds).run()
    except SystemExit as failure:  # with uvicorn's own status, 3
        raise SystemExit(1) from failure


class DrainingServer(uvicorn.Server):
    """One process. Expects the application's `Drain` as "drain" in its lifespan state."""

    def __init__(
        self, config: uvicorn.Config, *, drain_seconds: float, supervised: bool = False
    ) -> None:
        """`supervised`: this is a worker, and the supervisor shares and closes the listener."""
        super().__init__(config)
        self._drain_seconds = drain_seconds
        self._supervised = supervised
        self._draining = drain_seconds > 0

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Take note of a signal. Uvicorn would also raise it again after a graceful stop."""
        if not self.should_exit:
            self.should_exit = True
            self._draining = self._draining and sig != signal.SIGINT
        elif self._draining:
            # To a worker a second SIGTERM is no news: the first came from systemd, which
            # signals the whole group, and this one is the supervisor passing its own on.
            self._draining = self._supervised and sig != signal.SIGINT
        elif sig == signal.SIGINT:
            self.force_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, several times at the same sockets."""
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        for listener in [sock for server in self.servers for sock in server.sockets]:
            for _ in range(1, max(1, _LISTENERS // self.config.workers)):
                again = socket.fromfd(listener.fileno(), listener.family, listener.type)
                self.servers.append(
                    await loop.create_server(
                        self._protocol, sock=again, ssl=self.config.ssl, backlog=self.config.backlog
                    )
                )

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        return protocol(  # type: ignore[no-any-return]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, unless told otherwise, and stop."""
        self.should_exit = True  # also if the limit on requests brought us here
        drain: Drain = self.lifespan.state["drain"]
        drain.begin()
        if self._draining:
            await self._drain()
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        logger.info("Draining for %g seconds", self._drain_seconds)
        lag_seconds = _SUPERVISOR_LAG_SECONDS if self._supervised else 0
        deadline = time.monotonic() + self._drain_seconds + lag_seconds
        while self._draining and time.monotonic() < deadline:
            await self._tick()
        self._draining = False
        listeners = [sock for server in self.servers for sock in server.sockets]
        if not self._supervised:  # else siblings may be there to stay
            ignore_newcomers(listeners)
        for tick in range(1, _BACKLOG_TICKS):
            await self._tick()
            if tick >= _HANDSHAKE_TICKS and not has_backlog(listeners):
                break
        # Asyncio loses what it accepted in the turn in which its listener is closed. It accepted
        # nothing in this one, which began with a timer: timers come after sockets.
        for server in self.servers:
            server.close()
        for _ in range(_LINGER_TICKS):
            if self.force_exit or not self.server_state.connections:
                break
            await self._tick()

    async def _tick(self) -> None:
        await self.on_tick(0)  # keeps the Date header right
        await asyncio.sleep(_TICK_SECONDS)


class Worker(multiprocess.Process):
    """One of several processes which accept from the same listener."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], *, drain_seconds: float
    ) -> None:
        super().__init__(config, sockets)
        self._drain_seconds = drain_seconds

    @property
    def server(self) -> uvicorn.Server:
        """The server, made where it is first used, which is in the worker's process."""
        if self._server is None:
            self._server = DrainingServer(
                self.config, drain_seconds=self._drain_seconds, supervised=True
            )
        return self._server

    def ping(self, timeout: float = 5) -> bool:
        """Whether the worker gives a sign of life. Uvicorn's would wait for one that has died."""
        with contextlib.suppress(OSError, EOFError):
            self.parent_conn.send(b"ping")
            if self.parent_conn in wait([self.parent_conn, self.process.sentinel], timeout):
                self.parent_conn.recv()
                return True
        return False

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the server, in the worker's process.

        Raises SystemExit with the one status after which uvicorn does not try again if the
        application cannot even be made: it would fail the same way for ever.
        """
        Thread(target=_stop_with, args=[parent_process()], daemon=True).start()
        server = self.server  # before the thread which answers health checks would make another
        try:
            super().target(sockets)
        except Exception as error:
            if server.started:
                logger.critical("Failed", exc_info=True)
                sys.exit(1)
            traceback = not isinstance(error, StartupError)
            logger.critical("Failed to start: %s", error, exc_info=traceback)
            sys.exit(STARTUP_FAILURE)


def _stop_with(supervisor: BaseProcess | None) -> None:
    """Stop this worker when its supervisor is gone, instead of keeping the port for ever."""
    if supervisor is not None:
        supervisor.join()
        signal.raise_signal(signal.SIGTERM)


class Supervisor(Multiprocess):
    """The parent of the workers. It replaces those that die, and on SIGHUP one after another."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], *, drain_seconds: float
    ) -> None:
        super().__init__(config, sockets)
        self._drain_seconds = drain_seconds
        # Four of uvicorn's methods make workers, all by this global; it offers no other seam.
        multiprocess.Process = partial(  # type: ignore[assignment,misc]
            Worker, drain_seconds=drain_seconds
        )

    def terminate_all(self) -> None:
        """Have all workers drain, and close the listener for good before they close theirs.

        As long as one process holds it open the kernel accepts connections, and once the
        workers are gone nobody would serve them.
        """
        super().terminate_all()
        deadline = time.monotonic() + self._drain_seconds
        while time.monotonic() < deadline and self._alive() and not self._told_again():
            time.sleep(_TICK_SECONDS)
        ignore_newcomers(self.sockets)
        for sock in self.sockets:
            sock.close()
        if self._told_again() and os.name != "nt":  # where this would kill
            for pid in self._alive():
                os.kill(pid, signal.SIGINT)

    def _alive(self) -> list[int]:
        return [worker.pid for worker in self.processes if worker.pid and worker.exitcode is None]

    def _told_again(self) -> bool:
        return not set(self.signal_queue).isdisjoint(HANDLED_SIGNALS)
