"""Hand-written requests that a proper client would not send, or would send at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from urllib.parse import urlsplit


@contextmanager
def connected(base_url: str) -> Iterator[socket.socket]:
    """A connection to the server. Each answer has two minutes."""
    address = urlsplit(base_url)
    with socket.create_connection((address.hostname, address.port), timeout=120) as client:
        yield client


def head(line: str, *headers: str) -> bytes:
    """A request's line and headers."""
    return "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("utf-8", "surrogateescape")


def answer(client: socket.socket, method: str = "") -> tuple[HTTPResponse, bytes]:
    """The next answer on a connection and its body."""
    response = HTTPResponse(client, method=method)
    response.begin()
    return response, response.read()


def ask(base_url: str, line: str, *headers: str, body: bytes = b"") -> tuple[HTTPResponse, bytes]:
    """A request on a new connection, such as `GET /api/x`."""
    with connected(base_url) as client:
        client.sendall(head(line, *headers) + body)
        return answer(client, line.partition(" ")[0])
