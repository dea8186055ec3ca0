"""The connection between host and worker process: pickled objects over a private socket."""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from typing import Any

SIZE = struct.Struct("!Q")


class Channel:
    """One end of the socket, in an event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        return cls(*await asyncio.open_connection(sock=end))

    def send(self, what: object) -> None:
        data = pickle.dumps(what)
        self._writer.write(SIZE.pack(len(data)) + data)

    async def receive(self) -> Any:
        """The next object. Raises EOFError after the other side has ended."""
        try:
            (size,) = SIZE.unpack(await self._reader.readexactly(SIZE.size))
            return pickle.loads(await self._reader.readexactly(size))
        except ConnectionError:
            raise EOFError from None

    def close(self) -> None:
        self._writer.close()
