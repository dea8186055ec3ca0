"""The command line: `python -m devhost --help`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

from devhost.clock import Clock
from devhost.dispatcher import Dispatcher
from devhost.errors import HostEnd, StartError
from devhost.functions import App, Setup
from devhost.host import ABOUT, Host, Options
from devhost.hostjson import read_host_json
from devhost.logs import log_to_stderr
from devhost.times import Times

TIMES = tuple(field.name for field in fields(Times))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal. Returns the exit status: 0, 1 if the host ends itself, 2 if it cannot start."""
    options = _parser().parse_args(arguments)
    status = 0
    try:
        _run(options)
    except StartError as error:
        print(f"devhost: {error}", file=sys.stderr, flush=True)
        return 2
    except HostEnd as error:
        print(f"devhost: ends itself: {error}", file=sys.stderr, flush=True)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads of functions that did not end in time would keep the process alive


def _run(options: argparse.Namespace) -> None:
    app_dir: Path = options.app_dir.resolve()
    host_json = read_host_json(app_dir)
    _apply_settings(app_dir, dict(options.env))
    # Microsoft's default, min(32, processors + 4), would let messages wait that are already leased.
    os.environ.setdefault("PYTHON_THREADPOOL_THREAD_COUNT", str(host_json.queues.max_parallel))
    clock = Clock(options.clock_factor, time.time() if options.clock_epoch is None else options.clock_epoch)
    setup = Setup(app_dir, tuple(options.modules), clock, options.lease_seconds, options.log_level)
    times = Times(**dict(options.times))
    function_timeout = host_json.function_timeout
    make_app: Callable[[], App]
    if options.in_process:
        from devhost.runtime import current_function
        from devhost.worker import load

        log = log_to_stderr(options.log_level, current_function)
        make_app = partial(load, setup, function_timeout)
    else:
        log = log_to_stderr(options.log_level, lambda: None)  # no function runs in this process
        make_app = partial(Dispatcher, setup, function_timeout, times)
    try:
        host_options = Options(**{field.name: getattr(options, field.name) for field in fields(Options)})
        asyncio.run(Host(make_app(), host_json, host_options, clock, times, os.environ).run())
    finally:
        log.stop()


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
    add("--no-http", dest="http", action="store_false", help="do not serve HTTP functions")
    add("--no-queues", dest="queues", action="store_false", help="do not run queue functions")
    add("--no-timers", dest="timers", action="store_false", help="do not run timer functions")
    add(
        "--in-process",
        action="store_true",
        help="call functions in the host's own process: faster, but a call past its time limit is not ended",
    )
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
        "--time",
        dest="times",
        type=_time,
        action="append",
        default=[],
        metavar="NAME=SECONDS",
        help=f"another value for one of the host's times: {', '.join(TIMES)}; may be repeated",
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
        help="when the fast time began; the same for all hosts on one storage account",
    )
    return parser


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


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("write a number between 0 and 65535")
    return int(text)


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError("write NAME=VALUE")
    return name, value


def _time(text: str) -> tuple[str, float]:
    name, seconds = _setting(text)
    if name not in TIMES:
        raise argparse.ArgumentTypeError(f"write one of {', '.join(TIMES)}")
    return name, _positive(seconds)


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
