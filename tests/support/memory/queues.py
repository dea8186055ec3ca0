"""Queues in memory with the interface of the SDK's client. Limits: Microsoft Learn, "Put Message"."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import SimpleNamespace
from typing import Any, Final, Self
from uuid import uuid4

from azure.storage.queue import QueueMessage

from tests.support.memory.account import MemoryAccount, Message, Refused, as_the_sdk_raises

MAX_MESSAGE_BYTES: Final = 65_536
MAX_SECONDS: Final = 7 * 24 * 3600
NEVER_EXPIRES: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class MemoryQueueClient:
    """A fake `QueueClient`. Every `message_encode_policy` is treated as base64."""

    def __init__(self, account: MemoryAccount, name: str, **options: Any) -> None:
        self.account, self.queue_name, self.url = account, name, f"{account.url}/{name}"
        self._encodes = "message_encode_policy" in options

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to close."""

    @as_the_sdk_raises
    def create_queue(self) -> None:
        if self.queue_name in self.account.queues:
            raise Refused(409, "QueueAlreadyExists")
        self.account.queues[self.queue_name] = []

    @as_the_sdk_raises
    def send_message(
        self, content: str, *, visibility_timeout: int | None = None, time_to_live: int | None = None
    ) -> QueueMessage:
        messages, now = self._messages(), self.account.now()
        text = self._encoded(content)
        if len(text.encode()) > MAX_MESSAGE_BYTES:
            raise Refused(413, "RequestBodyTooLarge")
        if not 0 <= (visibility_timeout or 0) <= MAX_SECONDS:
            raise Refused(400, "OutOfRangeQueryParameterValue")
        seconds = time_to_live or MAX_SECONDS
        expires = NEVER_EXPIRES if seconds == -1 else now + timedelta(seconds=seconds)
        messages.append(Message(text, now, expires, now + timedelta(seconds=visibility_timeout or 0)))
        return _told(messages[-1])

    @as_the_sdk_raises
    def receive_messages(
        self, *, messages_per_page: int = 1, max_messages: int = 1, visibility_timeout: int = 30
    ) -> list[QueueMessage]:
        found = self._visible(min(messages_per_page, max_messages))
        for message in found:
            message.visible_on = self.account.now() + timedelta(seconds=visibility_timeout)
            message.dequeue_count += 1
            message.receipt = str(uuid4())
        return [_told(message) for message in found]

    @as_the_sdk_raises
    def peek_messages(self, max_messages: int = 1) -> list[QueueMessage]:
        return [_told(message) for message in self._visible(max_messages)]

    @as_the_sdk_raises
    def delete_message(self, message: QueueMessage | str, pop_receipt: str | None = None) -> None:
        named, receipt = _named(message, pop_receipt)
        self._messages().remove(self._held(named, receipt))

    @as_the_sdk_raises
    def update_message(
        self, message: QueueMessage | str, pop_receipt: str | None = None, *, visibility_timeout: int
    ) -> None:
        named, receipt = _named(message, pop_receipt)
        held = self._held(named, receipt)
        if isinstance(message, QueueMessage):  # the SDK sends and encodes its text, too
            held.content = self._encoded(message.content)
        held.visible_on = self.account.now() + timedelta(seconds=visibility_timeout)
        held.receipt = str(uuid4())

    @as_the_sdk_raises
    def get_queue_properties(self) -> Any:
        return SimpleNamespace(approximate_message_count=len(self._messages()))

    def _messages(self) -> list[Message]:
        if self.queue_name not in self.account.queues:
            raise Refused(404, "QueueNotFound")
        return self.account.queues[self.queue_name]

    def _visible(self, limit: int) -> list[Message]:
        if not 1 <= limit <= 32:
            raise Refused(400, "OutOfRangeQueryParameterValue")
        now = self.account.now()
        visible = (message for message in self._messages() if message.visible_on <= now < message.expires_on)
        return list(islice(visible, limit))

    def _held(self, message_id: str, receipt: str | None) -> Message:
        found = [message for message in self._messages() if message.id == message_id]
        if not found:
            raise Refused(404, "MessageNotFound")
        if found[0].receipt != receipt:
            raise Refused(400, "PopReceiptMismatch")
        return found[0]

    def _encoded(self, text: str) -> str:
        return b64encode(text.encode()).decode() if self._encodes else text


def _named(message: QueueMessage | str, receipt: str | None) -> tuple[str, str | None]:
    """A message's id and the receipt of its reader."""
    return (message, receipt) if isinstance(message, str) else (message.id, message.pop_receipt)


def _told(message: Message) -> QueueMessage:
    """A message as a reader receives it."""
    told = QueueMessage(content=message.content)
    told.id, told.pop_receipt, told.dequeue_count = message.id, message.receipt, message.dequeue_count
    told.inserted_on, told.expires_on, told.next_visible_on = (
        message.inserted_on,
        message.expires_on,
        message.visible_on,
    )
    return told
