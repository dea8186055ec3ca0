"""Timer triggers. Of all hosts on one storage account, only one fires a timer.

As in the Azure Functions host, the host with the lease on a blob fires (SingletonManager.cs of Azure/azure-webjobs-sdk).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from datetime import datetime

from devhost.clock import Clock
from devhost.errors import HostEnd
from devhost.functions import App, Function
from devhost.ncrontab import next_time
from devhost.storage import Service, StorageError, StorageGone
from devhost.times import Times

logger = logging.getLogger("devhost.timers")

LOCK_CONTAINER = "azure-webjobs-hosts"


class TimerLock:
    """The right to fire one function's timer, from `acquire` until `release`."""

    def __init__(self, service: Service, function: str, seconds: float) -> None:
        self._service = service
        self._blob = f"/{LOCK_CONTAINER}/locks/devhost/{function}.Listener"
        self._seconds = seconds
        self._id = str(uuid.uuid4())

    async def acquire(self) -> bool:
        """Take the lock. Returns False if another host has it. Raises StorageError."""
        headers = {"x-ms-lease-duration": f"{self._seconds:.0f}", "x-ms-proposed-lease-id": self._id}
        try:
            try:
                await self._lease("acquire", headers)
            except StorageError as error:
                if error.status != 404:
                    raise
                await self._create()
                await self._lease("acquire", headers)
        except StorageError as error:
            if error.status in (409, 412):
                return False
            raise
        return True

    async def keep(self) -> None:
        """Renew the lock at half time, until this host loses it. Raises StorageGone."""
        while True:
            await asyncio.sleep(self._seconds / 2)
            try:
                await self._lease("renew", {"x-ms-lease-id": self._id})
            except StorageGone:
                raise
            except StorageError as error:
                logger.warning("cannot renew a timer's lock: %s", error)
                if 0 < error.status < 500:
                    return

    async def release(self) -> None:
        """Release the lock, so that another host can take it."""
        try:
            await self._lease("release", {"x-ms-lease-id": self._id})
        except StorageError as error:
            logger.info("a timer's lock ends by itself within %g s: %s", self._seconds, error)

    async def _create(self) -> None:
        try:
            await self._service.call("PUT", f"/{LOCK_CONTAINER}", {"restype": "container"})
        except StorageError as error:
            if error.status != 409:
                raise
        await self._service.call("PUT", self._blob, headers={"x-ms-blob-type": "BlockBlob"})

    async def _lease(self, action: str, headers: dict[str, str]) -> None:
        await self._service.call("PUT", self._blob, {"comp": "lease"}, headers={"x-ms-lease-action": action, **headers})


class TimerListener:
    """Calls one timer function on its schedule until `stop`. Two calls never overlap."""

    def __init__(self, app: App, function: Function, clock: Clock, times: Times, lock: TimerLock | None) -> None:
        """Raises StartError if the schedule is wrong. Without a lock, the timer fires whether or not other hosts fire it."""
        self._app = app
        self._function = function
        self._clock = clock
        self._times = times
        self._lock = lock
        self._schedule = function.schedule
        next_time(self._schedule, clock.now())
        self._is_ours = lock is None
        self._is_stopping = False
        self._over = asyncio.Event()
        """Set if the listener is stopped, or the lock is lost."""

    async def open(self) -> None:
        """Try to take the lock for the first time. Waits while storage does not answer."""
        while self._lock is not None:
            try:
                self._is_ours = await self._lock.acquire()
            except StorageError as error:
                logger.warning("%s: the host cannot start without its timers' locks: %s", self._function.name, error)
                await asyncio.sleep(self._times.retry)
            else:
                return

    async def run(self) -> None:
        """Fire until stopped, while this host has the lock. Raises HostEnd if storage is gone."""
        try:
            if self._lock is None:
                await self._fire_on_schedule()
            else:
                await self._fire_in_turn(self._lock)
        except StorageGone as gone:
            raise HostEnd(f"the lock of {self._function.name}: {gone}") from None

    def stop(self) -> None:
        """Fire no more. `run` ends when the running call has ended."""
        self._is_stopping = True
        self._over.set()

    async def _fire_in_turn(self, lock: TimerLock) -> None:
        while not self._is_stopping:
            if self._is_ours:
                await self._fire_while_ours(lock)
            elif not await self._over_within(self._times.timer_look):
                await self._look(lock)

    async def _fire_while_ours(self, lock: TimerLock) -> None:
        keeping = asyncio.create_task(lock.keep())
        keeping.add_done_callback(lambda _: self._over.set())
        await self._fire_on_schedule()
        if keeping.done():
            keeping.result()
            self._is_ours = False
            self._over.clear()
        else:
            keeping.cancel()
            await lock.release()

    async def _look(self, lock: TimerLock) -> None:
        try:
            self._is_ours = await lock.acquire()
        except StorageGone:
            raise
        except StorageError as error:
            logger.warning("%s: not called, its lock cannot be checked: %s", self._function.name, error)

    async def _fire_on_schedule(self) -> None:
        """Call the function at each tick. Ticks during a call become one call after it."""
        tick = next_time(self._schedule, self._clock.now())
        while not await self._over_before(tick):
            await self._fire()
            tick = max(next_time(self._schedule, tick), self._clock.now())

    async def _over_before(self, tick: datetime) -> bool:
        while (wait := (tick - self._clock.now()).total_seconds()) > 0 and not self._over.is_set():
            await self._over_within(self._clock.real_seconds(wait))
        return self._over.is_set()

    async def _over_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        return self._over.is_set()

    async def _fire(self) -> None:
        # devhost has no schedule monitor. Without one, the host never reports a call as past due.
        await self._app.invoke_timer_async(self._function.name, past_due=False)
