"""Serves the console's files.

A browser asks for the page each time. The address of each other file has the hash of all files, and browsers keep it for a
year.
"""

import gzip
import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

import azure.functions as func

_FOLDERS: Final = {"": Path(__file__).parent / "static", "vendor/": Path(__file__).parent / "vendor"}
_MEDIA_TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".txt": "text/plain"}
_PAGE: Final = "index.html"
_VERSION: Final = b"{version}"
"""The placeholder in the page for the hash of all files."""
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}
_VERSIONED: Final = re.compile(r"([0-9a-f]{16})/(.+)")
_ASK_AGAIN: Final = "no-cache"
_FOR_A_YEAR: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Files:
    """All files by their path below the address, and the hash of all files."""

    version: str
    contents: dict[str, bytes]


def answer_console(req: func.HttpRequest) -> func.HttpResponse:
    """Answer GET or HEAD on the console's address: a file, 304 if the browser has the file, or 404."""
    files = _files()
    path = (req.route_params.get("path") or "").strip("/") or _PAGE
    version, name = _split(path)
    if name not in files.contents:
        text = "There is no such file. The console is at /api/console.\n"
        return func.HttpResponse(
            text, status_code=404, mimetype="text/plain", headers={**_HEADERS, "Cache-Control": "no-store"}
        )
    headers = {**_HEADERS, "Cache-Control": _FOR_A_YEAR if version == files.version else _ASK_AGAIN}
    body = files.contents[name]
    if "gzip" in req.headers.get("accept-encoding", ""):
        body = _zipped(name)
        headers["Content-Encoding"] = "gzip"
    headers["ETag"] = f'"{_hash(body)}"'
    if headers["ETag"] in _tags(req.headers.get("if-none-match", "")):
        headers.pop("Content-Encoding", None)
        return func.HttpResponse(status_code=304, headers=headers)
    return func.HttpResponse(
        body if req.method == "GET" else None,
        mimetype=_MEDIA_TYPES[Path(name).suffix],
        charset="utf-8",
        headers=headers,
    )


def _split(path: str) -> tuple[str, str]:
    """The version in an address, or "", and the file. Any version gives the present file: while a deployment replaces
    instances, a page of one release may load files of another."""
    found = _VERSIONED.fullmatch(path)
    return (found[1], found[2]) if found else ("", path)


@cache
def _files() -> _Files:
    contents = {
        prefix + path.name: path.read_bytes()
        for prefix, folder in _FOLDERS.items()
        for path in sorted(folder.iterdir())
        if path.suffix in _MEDIA_TYPES
    }
    version = _hash(b"".join(name.encode() + content for name, content in contents.items()))
    contents[_PAGE] = contents[_PAGE].replace(_VERSION, version.encode())
    return _Files(version, contents)


@cache
def _zipped(name: str) -> bytes:
    return gzip.compress(_files().contents[name], mtime=0)


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


def _tags(header: str) -> set[str]:
    """The ETags of `If-None-Match`. A compressing proxy may have made them weak."""
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}
