"""The command line: `python -m devhost --help`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from queue import SimpleQueue

from aiohttp.http_exceptions import HttpProcessingError
from azure_functions_runtime import invocation_id_cv  # type: ignore[import-untyped]

from devhost.clock import Clock, module_exists, speed_up_app
from devhost.errors import StartError
from devhost.host import ABOUT, Host, Options
from devhost.hostjson import read_host_json
from devhost.queues import LEASE_SECONDS
from devhost.runtime import invocations, load_app

LOG_PAUSE_SECONDS = 0.02
CLAIM_LEASE_SHARE = 0.4
"""The app's claim lease as a share of the queue lease: 240 of 600 seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal; the exit status is 0, or 2 where the host cannot start."""
    options = _parser().parse_args(arguments)
    log = _log_to_stderr(options.log_level)
    try:
        host = _prepare(options)
        asyncio.run(host.run())
    except StartError as error:
        log.stop()
        print(f"devhost: {error}", file=sys.stderr, flush=True)
        return 2
    log.stop()
    # Threads of functions that did not end in time would keep the process alive.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devhost", description=" ".join(ABOUT))
    add = parser.add_argument
    add(
        "--app-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder of function_app.py and host.json (default: here)",
    )
    add(
        "--port",
        type=_port,
        default=7071,
        metavar="N",
        help="HTTP port on 127.0.0.1, 0 for a free one (default: 7071)",
    )
    add(
        "--function-key",
        metavar="KEY",
        help="the host key, which opens every function (default: a random one, printed)",
    )
    add(
        "--env",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an app setting; may be repeated",
    )
    add(
        "--ready-file",
        type=Path,
        metavar="PATH",
        help="write base_url, keys and pid here as JSON once ready; removed at the end",
    )
    add("--no-http", action="store_true", help="do not serve HTTP functions")
    add("--no-queues", action="store_true", help="do not run queue functions")
    add("--no-timers", action="store_true", help="do not run timer functions")
    add("--log-level", default="info", choices=["debug", "info", "warning", "error"], help="default: info")
    tests = parser.add_argument_group("for tests only")
    tests.add_argument(
        "--with",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module before the app; may be repeated",
    )
    tests.add_argument(
        "--lease-seconds",
        type=_positive_int,
        metavar="N",
        help="queue lease instead of 600 s; shortens the app's claim lease with it",
    )
    tests.add_argument(
        "--clock-factor",
        type=_positive,
        default=1.0,
        metavar="F",
        help="let the app's time run F times as fast",
    )
    tests.add_argument(
        "--clock-epoch",
        type=float,
        metavar="UNIXTIME",
        help="where the fast time began; hosts that share a storage share it",
    )
    return parser


def _prepare(options: argparse.Namespace) -> Host:
    app_dir: Path = options.app_dir.resolve()
    host_json = read_host_json(app_dir)
    _apply_settings(app_dir, dict(options.env))
    # Microsoft's default, min(32, processors + 4), would let messages wait that are already leased.
    os.environ.setdefault("PYTHON_THREADPOOL_THREAD_COUNT", str(host_json.queues.max_parallel))
    sys.path.insert(0, str(app_dir))
    clock = Clock(options.clock_factor, time.time() if options.clock_epoch is None else options.clock_epoch)
    if clock.factor != 1.0:
        speed_up_app(clock)
    if options.lease_seconds is not None and module_exists("leads.ledger"):
        ledger = importlib.import_module("leads.ledger")
        ledger.CLAIM_LEASE_SECONDS = options.lease_seconds * CLAIM_LEASE_SHARE  # type: ignore[attr-defined]
    for module in options.modules:
        _import(module)
    app = load_app(app_dir, host_json.function_timeout)
    return Host(
        app,
        host_json,
        Options(
            port=options.port,
            function_key=options.function_key,
            ready_file=options.ready_file,
            http=not options.no_http,
            queues=not options.no_queues,
            timers=not options.no_timers,
            lease_seconds=options.lease_seconds or LEASE_SECONDS,
        ),
        clock,
        os.environ,
    )


def _apply_settings(app_dir: Path, given: dict[str, str]) -> None:
    """App settings go into the environment: --env before the real environment before local.settings.json."""
    for name, value in _local_settings(app_dir).items():
        os.environ.setdefault(name, value)
    os.environ.update(given)


def _local_settings(app_dir: Path) -> dict[str, str]:
    try:
        content = json.loads((app_dir / "local.settings.json").read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StartError(f"local.settings.json is not JSON: {error}") from None
    values = content.get("Values", {}) if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise StartError('local.settings.json: write {"IsEncrypted": false, "Values": {"NAME": "value"}}')
    if content.get("IsEncrypted"):
        raise StartError("local.settings.json is encrypted: run `func settings decrypt`")
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:
        raise StartError(f"--with {module} cannot be imported: {type(error).__name__}: {error}") from None


class _InvocationFilter(logging.Filter):
    """Says in each line which function's invocation it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.function = invocations.get(invocation_id_cv.get() or "", "host")
        return True


def _is_the_hosts_fault(record: logging.LogRecord) -> bool:
    """aiohttp reports a broken request with a traceback and its address, which may hold a key."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | ConnectionError)


class _Listener(QueueListener):
    """Prints what functions log from a thread of its own, as the real worker does, so that none waits for another's lines.

    It wakes some times a second rather than for each line.
    """

    def __init__(self, lines: SimpleQueue[logging.LogRecord], printing: logging.Handler) -> None:
        super().__init__(lines, printing)
        self._lines = lines

    def handle(self, record: logging.LogRecord) -> None:
        super().handle(record)
        if self._lines.empty():
            time.sleep(LOG_PAUSE_SECONDS)


def _log_to_stderr(level: str) -> QueueListener:
    printing = logging.StreamHandler(sys.stderr)
    printing.setFormatter(
        logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s %(function)s %(name)s: %(message)s", "%H:%M:%S")
    )
    lines: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(lines)
    handler.setFormatter(logging.Formatter("%(message)s"))  # or basicConfig would set one with a prefix
    handler.addFilter(_InvocationFilter())
    listener = _Listener(lines, printing)
    listener.start()
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # At lower levels these print every request, addresses and all.
    for name in ("azure", "urllib3", "msal", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_is_the_hosts_fault)
    return listener


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("write a number between 0 and 65535")
    return int(text)


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError("write NAME=VALUE")
    return name, value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("write a number above 0")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("write a whole number above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
