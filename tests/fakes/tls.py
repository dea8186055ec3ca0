"""A certificate authority for the tests, and raw TLS servers that misbehave on request."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from tests.support import tcp
from tests.support.tcp import tcp_server


@dataclass(frozen=True)
class Authority:
    """Issues certificates; `bundle` is the file by which a client trusts them."""

    bundle: str
    ca: trustme.CA
    _contexts: dict[tuple[str, ...], ssl.SSLContext] = field(default_factory=dict)

    def server_context(self, *names: str) -> ssl.SSLContext:
        """The TLS of all servers with these names (default: 127.0.0.1 and localhost)."""
        if names not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.ca.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
            self._contexts[names] = context
        return self._contexts[names]


def make_authority(folder: Path) -> Authority:
    ca = trustme.CA()
    bundle = folder / "ca.pem"
    ca.cert_pem.write_to_path(bundle)
    return Authority(str(bundle), ca)


Behaviour = Callable[[socket.socket, bytes], None]
"""What a server does with a connection after it has read a request's head and body."""


@dataclass
class RawServer:
    """A TLS server with handwritten answers. `requests` are the complete requests that arrived."""

    url: str
    requests: list[bytes]


@contextlib.contextmanager
def raw_server(context: ssl.SSLContext | None, behave: Behaviour) -> Iterator[RawServer]:
    """Serve on a free port until the block ends; without a context in plain TCP, answering before it is asked."""
    requests: list[bytes] = []

    def answer(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) if context else plain as sock:
            request = _read_request(sock) if context else b""
            if request:
                requests.append(request)
            behave(sock, request)

    with tcp_server(answer) as port:
        yield RawServer(f"https://127.0.0.1:{port}/hook", requests)


def _read_request(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (chunk := sock.recv(65_536)):
            return data
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += sock.recv(65_536)
    return head + b"\r\n\r\n" + body


def answer(status: str = "200 OK", body: bytes = b"{}", *headers: str) -> Behaviour:
    """A well-formed answer."""

    def behave(sock: socket.socket, _: bytes) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
        sock.sendall("\r\n".join(lines).encode() + body)

    return behave


def hang_up(sock: socket.socket, _: bytes) -> None:
    """Close without an answer."""


def never_answer(sock: socket.socket, _: bytes) -> None:
    tcp.never_answer(sock)


def cut_in_the_middle(sock: socket.socket, _: bytes) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")


def reset_in_the_middle(sock: socket.socket, request: bytes) -> None:
    """The other side's machine forgets the connection: RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    cut_in_the_middle(sock, request)


def gzip_bomb(sock: socket.socket, _: bytes) -> None:
    """A small answer that would take 20 MB once it is unpacked."""
    packer = zlib.compressobj(wbits=31)
    body = b"".join([*(packer.compress(bytes(1_000_000)) for _number in range(20)), packer.flush()])
    lines = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    sock.sendall(lines.encode() + body)


def drip(sock: socket.socket, _: bytes, begin: bytes = b"X-Slow: ") -> None:
    """An endless answer of one byte at a time."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n" + begin)
    for _number in range(600):
        sock.sendall(b"x")
        time.sleep(0.05)


def drip_the_body(sock: socket.socket, request: bytes) -> None:
    drip(sock, request, b"\r\n")


def endless(sock: socket.socket, _: bytes) -> None:
    """An answer far beyond any limit."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for _number in range(200):
        sock.sendall(b"x" * 65_536)
