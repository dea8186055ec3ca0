"""A destination type for tests, `recording`: sends each lead to a `Vendor`, and turns its answer into an outcome."""

from __future__ import annotations

import http.client
import json
from typing import Any, ClassVar
from urllib.parse import urlsplit

from leads import destinations
from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry, Unknown
from leads.destinations.base import (
    CheckResult,
    Customer,
    Destination,
    DestinationSettings,
    OutgoingLead,
    PreviewedRequest,
)


class RecordingSettings(DestinationSettings):
    """The vendor's address. `keyless`: the vendor can't recognise a second try."""

    url: str
    keyless: bool = False
    wide_scope: bool = False


class Recording(Destination):
    """The destination type of this module."""

    Settings: ClassVar[type[DestinationSettings]] = RecordingSettings
    replay_warning = "The vendor is called again."
    settings: RecordingSettings

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, RecordingSettings)
        return (settings.url,)

    @property
    def idempotent(self) -> bool:
        return not self.settings.keyless

    def record_scope(self, offer: str, name: str) -> str:
        return self.connection if self.settings.wide_scope else super().record_scope(offer, name)

    def check(self) -> CheckResult:
        try:
            return CheckResult(**self._post("/check", {}))
        except (OSError, http.client.HTTPException):
            return CheckResult(ok=False, code="unreachable", transient=True)

    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        return [PreviewedRequest("POST", f"{self.settings.url}/send", {}, _call(outgoing, customer))]

    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        try:
            answer = self._post("/send", _call(outgoing, customer))
        except (OSError, http.client.HTTPException):
            return Unknown("lost") if self.settings.keyless else Retry("lost")
        match answer.pop("outcome"):
            case "delivered":
                return Delivered(customer.record_id or outgoing.lead_id, answer.get("code", ""))
            case "rejected":
                return Rejected(answer["reason"], answer["code"])
            case "misconfigured":
                return Misconfigured(answer["reason"], answer["code"])
            case "unknown":
                return Unknown(answer["code"])
            case "raise":
                raise RuntimeError(answer["text"])
            case _:
                refused = answer.get("key_refused", False)
                return Retry(answer["code"], answer.get("after"), answer.get("ours", False), key_refused=refused)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        address = urlsplit(self.settings.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()


def _call(outgoing: OutgoingLead, customer: Customer) -> dict[str, Any]:
    return {
        "key": outgoing.lead_id,
        "customer": customer.key,
        "customer_record": customer.record_id,
        "idempotency_key": customer.idempotency_key,
        "stage": outgoing.stage.value,
        "repeat_of": outgoing.repeat_of,
        "lead": outgoing.lead.to_wire(),
    }


destination = Recording
destinations.MODULES["recording"] = __name__
