"""What the server does to its listening sockets, which no library does for it."""

import contextlib
import ctypes
import selectors
import socket
import struct
import sys
from collections.abc import Iterable

from app.errors import StartupError

# A socket filter (see bpf(4)) which drops the packets that ask for a new connection.
_SO_ATTACH_FILTER = 26
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte with the TCP flags
    (0x45, 0, 1, 0x02),  # unless SYN is among them, skip one instruction
    (0x06, 0, 0, 0),  # keep nothing of the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


def require_free(host: str, port: int, *, choose: str = "--host and --port") -> None:
    """Make sure that an address can be listened at, before anything is opened.

    `choose` is what another one is chosen with.

    Raises:
        StartupError: it is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if sys.platform != "win32":  # where it would share the port with who has it
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartupError(
                f"Nothing can listen at {host}, port {port} ({error.strerror});"
                f" stop what does, or choose another with {choose}."
            ) from error


def ignore_newcomers(listeners: Iterable[socket.socket]) -> None:
    """Have the kernel ignore attempts to connect, in all processes that share the listeners.

    To close a listener is to reset the connections that the kernel has made and nobody accepted
    yet. There is always one in a busy service, so no more may be made for a moment before.
    The clients try again after a second, by which time the listener is closed, and are refused.

    Only Linux can do this. Elsewhere, and where a sandbox forbids it, nothing happens and
    connections made in the last moment are lost.
    """
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(code))
    for listener in listeners:
        if listener.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):
                listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def has_backlog(listeners: Iterable[socket.socket]) -> bool:
    """Whether a connection waits to be accepted."""
    with selectors.DefaultSelector() as selector:
        for listener in listeners:
            selector.register(listener, selectors.EVENT_READ)
        return bool(selector.select(0))
