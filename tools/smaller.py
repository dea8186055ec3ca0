"""What `make package` leaves out of the installed packages: what nothing reads or calls where the app runs.

Code that is removed here and wanted after all fails `tests/tools/test_package.py`, which imports from the package whatever the
app imports anywhere.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Final

LEFT_OUT: Final = ("charset-normalizer", "pycparser")
"""Whole packages: requests does without the one (`leads/platform/libraries.py`); the other only serves to make C libraries."""
UNUSED: Final = (
    *("__pycache__", "bin", "tests", "test", "*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "py.typed", "_testcapi*"),
    *("RECORD", "INSTALLER", "REQUESTED", "sboms"),
    # The SDKs' second half for asyncio. That of the tables' generated client stays: the first half imports it.
    *("azure/identity/aio", "azure/keyvault/secrets/aio", "azure/storage/queue/aio", "azure/data/tables/aio"),
    "azure/storage/queue/_generated/aio",
    # cryptography needs `_cffi_backend` alone. The others are for pydantic's former version, type checkers and web servers.
    *("cffi", "pydantic/v1", "pydantic/mypy.py", "werkzeug/debug", "werkzeug/middleware"),
)
"""Names anywhere, and paths. Licences stay."""


def make_smaller(packages: Path) -> None:
    """Remove from this folder of packages what is not used, in place."""
    distributions = [name.replace("-", "_") for name in LEFT_OUT]
    for pattern in (*UNUSED, *distributions, *(f"{name}-*.dist-info" for name in distributions)):
        for path in sorted(packages.glob(pattern) if "/" in pattern else packages.rglob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    for library in packages.rglob("*.so"):
        library.write_bytes(without_symbols(library.read_bytes()))
    for metadata in packages.rglob("*.dist-info/METADATA"):
        header, _, _readme = metadata.read_text(encoding="utf-8").partition("\n\n")
        metadata.write_text(header + "\n", encoding="utf-8")


def without_symbols(library: bytes) -> bytes:
    """A 64-bit ELF library without what lies behind its last segment: symbols and notes for debuggers.

    Who loads a library reads its program headers alone (System V Application Binary Interface, "Program Loading and Dynamic
    Linking"); so the table of sections, which lies there as well, may be absent.
    """
    (table,) = struct.unpack_from("<Q", library, 32)  # e_phoff
    size, count = struct.unpack_from("<2H", library, 54)  # e_phentsize, e_phnum
    segments = [struct.unpack_from("<2I6Q", library, table + size * number) for number in range(count)]
    kept = bytearray(library[: max(offset + length for _, _, offset, _, _, length, *_ in segments)])
    struct.pack_into("<Q", kept, 40, 0)  # e_shoff
    struct.pack_into("<2H", kept, 60, 0, 0)  # e_shnum, e_shstrndx
    return bytes(kept)
