"""Timer triggers: each fires on one host only, however many share a storage account.

As in the Azure Functions host, a lease on a blob says which one
(SingletonManager.cs of Azure/azure-webjobs-sdk).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from datetime import datetime

from devhost.clock import Clock
from devhost.functions import App, Function
from devhost.ncrontab import parse_schedule
from devhost.storage import Service, StorageError

logger = logging.getLogger("devhost.timers")

LOCK_SECONDS = 15
"""How long a host that died keeps its timers from the others; the shortest lease that storage gives."""

LOCK_CONTAINER = "azure-webjobs-hosts"


class TimerLock:
    """The right to fire one function's timer, held from its first tick until `release`."""

    def __init__(self, service: Service, function: str) -> None:
        self._service = service
        self._blob = f"/{LOCK_CONTAINER}/locks/devhost/{function}.Listener"
        self._id = str(uuid.uuid4())
        self._held_until = 0.0
        self._renewal: asyncio.Task[None] | None = None

    async def acquire(self) -> bool:
        """Whether this host may fire. Raises StorageError where storage does not say."""
        if time.monotonic() < self._held_until:
            return True
        asked = time.monotonic()
        try:
            await self._acquire()
        except StorageError as error:
            if error.status in (409, 412):
                return False
            raise
        self._held_until = asked + LOCK_SECONDS
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._keep())
        return True

    async def release(self) -> None:
        """Let another host fire at once."""
        if self._renewal is not None:
            self._renewal.cancel()
        if time.monotonic() < self._held_until:
            self._held_until = 0.0
            try:
                await self._lease("release", {"x-ms-lease-id": self._id})
            except StorageError as error:
                logger.info("a timer's lock ends by itself within %d s: %s", LOCK_SECONDS, error)

    async def _acquire(self) -> None:
        headers = {"x-ms-lease-duration": str(LOCK_SECONDS), "x-ms-proposed-lease-id": self._id}
        try:
            await self._lease("acquire", headers)
        except StorageError as error:
            if error.status != 404:
                raise
            await self._create()
            await self._lease("acquire", headers)

    async def _create(self) -> None:
        try:
            await self._service.call("PUT", f"/{LOCK_CONTAINER}", {"restype": "container"})
        except StorageError as error:
            if error.status != 409:
                raise
        await self._service.call("PUT", self._blob, headers={"x-ms-blob-type": "BlockBlob"})

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOCK_SECONDS / 3)
            asked = time.monotonic()
            try:
                await self._lease("renew", {"x-ms-lease-id": self._id})
                self._held_until = asked + LOCK_SECONDS
            except StorageError as error:
                if 0 < error.status < 500:  # storage says that it is no longer ours
                    self._held_until = 0.0
                    return
                logger.warning("cannot renew a timer's lock: %s", error)

    async def _lease(self, action: str, headers: dict[str, str]) -> None:
        await self._service.call("PUT", self._blob, {"comp": "lease"}, headers={"x-ms-lease-action": action, **headers})


class TimerListener:
    """Calls one timer function on its schedule, never while it still runs, until `stop`."""

    def __init__(self, app: App, function: Function, clock: Clock, lock: TimerLock | None) -> None:
        """Raises StartError where the schedule is wrong. Without a lock it fires whatever other hosts do."""
        self._app = app
        self._function = function
        self._clock = clock
        self._lock = lock
        self._schedule = parse_schedule(function.schedule)
        self._schedule.after(clock.now())
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Fire until stopped. Ticks that pass while the function runs become one call, marked past due."""
        tick = self._schedule.after(self._clock.now())
        late = False
        if self._function.run_on_startup:
            await self._fire(late)
        while not await self._stopped_before(tick):
            await self._fire(late)
            now, tick = self._clock.now(), self._schedule.after(tick)
            late = tick <= now
            if late:
                tick = now
        if self._lock is not None:
            await self._lock.release()

    def stop(self) -> None:
        """Fire no more; `run` ends when a running call has ended."""
        self._stopping.set()

    async def _stopped_before(self, tick: datetime) -> bool:
        while (wait := (tick - self._clock.now()).total_seconds()) > 0 and not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._clock.real_seconds(wait))
        return self._stopping.is_set()

    async def _fire(self, past_due: bool) -> None:
        try:
            if self._lock is not None and not await self._lock.acquire():
                return
        except StorageError as error:
            logger.warning("%s: not called, its lock cannot be checked: %s", self._function.name, error)
            return
        await self._app.invoke_timer_async(self._function.name, past_due)
