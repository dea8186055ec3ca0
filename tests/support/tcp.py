"""Servers on this machine that call a test's function for each connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def tcp_server(behave: Callable[[socket.socket], object]) -> Iterator[int]:
    """Call this for each connection in a separate thread, and then close the connection, until the block ends. Yields the
    port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                behave(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def never_answer(connection: socket.socket) -> None:
    """Receive data until the client gives up."""
    while connection.recv(65_536):
        pass
