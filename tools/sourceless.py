"""Replace modules by their byte code: `python sourceless.py FOLDER DEPLOYED_TO [KEPT …]`, by the Python that is to run them.

The byte code is *unchecked-hash*, and without the docstrings of modules and functions. Those of classes stay: `dataclass` would
make one where there is none, which takes time. KEPT are paths in the folder that stay as they are.
"""

from __future__ import annotations

import ast
import importlib.util
import marshal
import sys
import warnings
from pathlib import Path
from types import CodeType

UNCHECKED_HASH = (0b01).to_bytes(4, "little")  # PEP 552
DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)


def main(folder: Path, deployed_to: Path, *kept: Path) -> str:
    """Compile. Returns the first fault, or ""."""
    for source in sorted(folder.rglob("*.py")):
        if any(source.is_relative_to(folder / path) for path in kept):
            continue
        text = source.read_bytes()
        try:
            code = compiled(text, str(deployed_to / source.relative_to(folder)))
        except (SyntaxError, ValueError) as error:
            return f"{source}: {error}"
        header = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(text)
        source.with_suffix(".pyc").write_bytes(header + marshal.dumps(code))
        source.unlink()
    return ""


def compiled(source: bytes, name: str) -> CodeType:
    """The module's code without docstrings. Raises SyntaxError or ValueError."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if node.body[1:] else [ast.copy_location(ast.Pass(), node.body[0])]
    return compile(tree, name, "exec", dont_inherit=True, optimize=0)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of others' code
    sys.exit(main(*map(Path, sys.argv[1:])) or 0)
