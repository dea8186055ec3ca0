"""Queue triggers, as in the Azure Functions host.

Sources: QueueListener.cs and QueueProcessor.cs of Azure/azure-sdk-for-net
(Microsoft.Azure.WebJobs.Extensions.Storage).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import random
from collections.abc import Coroutine
from email.utils import parsedate_to_datetime
from typing import Any

from devhost.errors import HostEnd
from devhost.functions import App, Function, InvocationResult
from devhost.hostjson import QueueOptions
from devhost.storage import Message, Queue, Service, StorageError, StorageGone

logger = logging.getLogger("devhost.queues")

LEASE_SECONDS = 600
"""The visibility timeout of a message while a function handles it. It is renewed at half time."""

MIN_POLLING_INTERVAL = 0.1
MAX_QUEUE_NAME = 63


class Backoff:
    """The delay between polls of an empty queue: 0.1 s after a message, then doubling up to the longest.

    Randomised by 20 %; RandomizedExponentialBackoffStrategy.cs of Azure/azure-webjobs-sdk. Times in seconds.
    """

    def __init__(self, longest: float, rng: random.Random | None = None) -> None:
        self._longest = longest
        self._rng = rng or random.Random()
        self._exponent = 0

    def reset(self) -> None:
        """Start with the shortest delay again, after a message was found."""
        self._exponent = 0

    def next(self) -> float:
        delay = MIN_POLLING_INTERVAL
        if self._exponent:
            delay += MIN_POLLING_INTERVAL * 2.0 ** (self._exponent - 1) * self._rng.uniform(0.8, 1.2)
        if delay >= self._longest:
            return self._longest
        self._exponent += 1
        return delay


class QueueListener:
    """Receives the messages of one queue function and calls it, until `stop`."""

    def __init__(
        self,
        app: App,
        function: Function,
        service: Service,
        options: QueueOptions,
        lease_seconds: int,
    ) -> None:
        self._app = app
        self._function = function
        self._queue = Queue(service, function.queue_name)
        self._poison = _poison_queue(service, function.queue_name)
        self._options = options
        self._lease = lease_seconds
        self._processing: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._exists = False
        self._gone: StorageGone | None = None

    async def run(self) -> None:
        """Poll until stopped. Raises HostEnd if storage is gone; other errors of storage are logged."""
        backoff = Backoff(self._options.max_polling_interval)
        while not self._stopping.is_set():
            messages = await self._receive()
            if not messages:
                await self._sleep(backoff.next())
                continue
            backoff.reset()
            for message in messages:
                self._start(self._process(message))
            while len(self._processing) > self._options.new_batch_threshold and self._gone is None:
                await asyncio.wait(self._processing, return_when=asyncio.FIRST_COMPLETED)
        if self._gone is not None:
            raise HostEnd(f"queue {self._queue.name}: {self._gone}")
        if self._processing:
            await asyncio.wait(self._processing)

    def stop(self) -> None:
        """Receive no more messages. `run` ends when the running functions have ended."""
        self._stopping.set()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._processing.add(task)
        task.add_done_callback(self._processing.discard)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _receive(self) -> list[Message]:
        try:
            if not self._exists and not await self._queue.exists():
                logger.warning("%s: there is no queue %s", self._function.name, self._queue.name)
                return []
            self._exists = True
            return await self._queue.receive(self._options.batch_size, self._lease)
        except StorageGone as error:
            self._end(error)
        except StorageError as error:
            self._exists = error.status != 404
            logger.warning("%s: cannot poll queue %s: %s", self._function.name, self._queue.name, error)
        return []

    def _end(self, gone: StorageGone) -> None:
        self._gone = gone
        self._stopping.set()

    async def _process(self, message: Message) -> None:
        name = self._function.name
        try:
            if message.dequeue_count > self._options.max_dequeue_count:
                await self._move_to_poison(message)
                return
            text = self._decode(message)
            if text is None:
                logger.warning("%s: message %s is not base64; see messageEncoding in host.json", name, message.id)
                await self._move_to_poison(message)
                return
            result = await self._invoke(message, text)
            if result.ok:
                await self._queue.delete(message)
            elif message.dequeue_count >= self._options.max_dequeue_count:
                await self._move_to_poison(message)
            else:
                await self._queue.hide(message, int(self._options.visibility_timeout))
        except StorageGone as error:
            self._end(error)
        except StorageError as error:
            logger.warning("%s: message %s comes back after its lease: %s", name, message.id, error)

    def _decode(self, message: Message) -> bytes | None:
        if self._options.message_encoding == "none":
            return message.text.encode()
        try:
            return base64.b64decode("".join(message.text.split()), validate=True)
        except (binascii.Error, ValueError):
            return None

    async def _invoke(self, message: Message, body: bytes) -> InvocationResult:
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            # The host decodes the body strictly, so such a message fails each time.
            logger.warning("%s: message %s is not UTF-8 text", self._function.name, message.id)
            return InvocationResult(False, "the message is not UTF-8 text")
        lease = _Lease(self._queue, message, self._lease)
        try:
            return await self._app.invoke_queue_async(
                self._function.name,
                text,
                message_id=message.id,
                dequeue_count=message.dequeue_count,
                pop_receipt=message.pop_receipt,
                inserted_on=parsedate_to_datetime(message.inserted_on),
                expires_on=parsedate_to_datetime(message.expires_on),
                next_visible_on=parsedate_to_datetime(message.next_visible_on),
            )
        finally:
            await lease.end()

    async def _move_to_poison(self, message: Message) -> None:
        if self._poison is None:  # as in the host, the message stays hidden until its lease ends
            logger.error("%s: message %s failed and its queue has no poison queue", self._function.name, message.id)
            return
        logger.warning("%s: moving message %s to queue %s", self._function.name, message.id, self._poison.name)
        await self._poison.put(message.text)
        await self._queue.delete(message)


class _Lease:
    """Keeps one message hidden until `end`, by renewing its lease at half time."""

    def __init__(self, queue: Queue, message: Message, seconds: int) -> None:
        self._queue = queue
        self._message = message
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._renewal: asyncio.Task[None] | None = None
        self._ended = False
        self._schedule()

    async def end(self) -> None:
        """Stop renewing. Wait for a running renewal, because its receipt is needed to delete the message."""
        self._ended = True
        self._timer.cancel()
        if self._renewal is not None:
            await self._renewal

    def _schedule(self) -> None:
        self._timer = self._loop.call_later(self._seconds / 2, self._begin)

    def _begin(self) -> None:
        self._renewal = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            ours = await self._queue.hide(self._message, self._seconds)
        except StorageError as error:
            logger.warning("cannot renew the lease of message %s: %s", self._message.id, error)
            ours = True
        if ours and not self._ended:
            self._schedule()


def _poison_queue(service: Service, name: str) -> Queue | None:
    poison = f"{name}-poison"
    return None if name.endswith("-poison") or len(poison) > MAX_QUEUE_NAME else Queue(service, poison)
