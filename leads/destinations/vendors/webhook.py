"""Webhook: each lead as a signed JSON POST to an HTTPS endpoint (Standard Webhooks).

All tries of a lead have the same ID, by which the receiver recognises a repeated call. Signatures follow the "Standard Webhooks"
specification, version 1.0.0: HMAC-SHA256 over `id.timestamp.body`.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Field, JsonValue

from leads.core import clock
from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry
from leads.destinations.base import (
    MASK,
    CheckResult,
    Customer,
    Destination,
    DestinationSettings,
    OutgoingLead,
    PreviewedRequest,
)
from leads.destinations.http import Answer, NoAnswer, is_transient
from leads.destinations.mapping import check_template, render
from leads.destinations.vendor_errors import FAILURES, check_result, outcome_of
from leads.platform.settings import OptionalSecret, SecretReference, SettingsError
from leads.platform.tracing import trace_headers

PAYLOAD_VERSION: Final = 1
WRONG_ADDRESS: Final = (
    "The endpoint's certificate is not valid for its host name, or the endpoint has no TLS: check url."
)
_HEADER_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
_OWN_HEADERS: Final = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})


def _map_texts(value: JsonValue, change: Callable[[str], str]) -> JsonValue:
    """The JSON value with each of its texts changed. Member names stay as they are."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _map_texts(item, change) for key, item in value.items()}
    return value


def _check_body(value: JsonValue) -> JsonValue:
    return _map_texts(value, check_template)


def _check_header_name(name: str) -> str:
    if name.lower() in _OWN_HEADERS or name.lower().startswith("webhook-"):
        raise ValueError("is set by the app itself; leave it out")
    return name


HeaderName = Annotated[str, Field(pattern=_HEADER_NAME), AfterValidator(_check_header_name)]


class WebhookSettings(DestinationSettings):
    """The endpoint, the signing secrets, and the content of the calls."""

    url: str = Field(
        title="URL",
        pattern=r"^https://[^\s/@?#]+(/[^\s#]*)?(\?[^\s#]*)?$",
        max_length=2000,
        description="The endpoint: https:// and a public address.",
    )
    secret: SecretReference = Field(
        title="Signing secret",
        description="Place of the secret that signs the calls: env:LEADS_SECRET_NAME or keyvault:NAME.",
    )
    previous_secret: OptionalSecret = Field(
        None,
        title="Previous signing secret",
        description="The previous secret, while you change the secret. Calls are signed with both.",
    )
    headers: dict[HeaderName, SecretReference] = Field(
        {},
        title="Headers",
        description="Further headers, such as Authorization; each value is a secret reference.",
    )
    body: Annotated[JsonValue, AfterValidator(_check_body)] = Field(
        None,
        title="Body",
        description="Your own body instead of the documented body. Its JSON texts are templates such as "
        "{first_name} {last_name}.",
    )


class Webhook(Destination):
    """Posts each lead with the ID `LEAD_DESTINATION`. The ID has no dot, because dots separate the signed parts."""

    Settings: ClassVar[type[DestinationSettings]] = WebhookSettings
    replay_warning = "The receiver gets another call with the same webhook-id, and decides what to do about it."
    settings: WebhookSettings

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, WebhookSettings)  # noqa: S101
        headers = (f"{name.lower()}: {reference}" for name, reference in settings.headers.items())
        return (settings.url, settings.secret, *sorted(headers))

    def check(self) -> CheckResult:
        """Whether the app can read all secrets and reach the host over TLS. Posts nothing."""
        try:
            self._keys()
            self._own_headers()
            self.http.request("HEAD", self.settings.url)
        except FAILURES as error:
            if isinstance(error, NoAnswer) and error.sent:
                # The app reached the endpoint. Many endpoints answer only POST.
                return CheckResult(ok=True, problem="the endpoint did not answer a HEAD request", code=error.failure)
            return check_result(outcome_of(error, WRONG_ADDRESS), "the endpoint did not answer")
        return CheckResult(ok=True)

    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        message_id, body = self._message(outgoing, customer)
        timestamp = str(int(clock.now().timestamp()))
        try:
            signatures = " ".join(sign(key, message_id, timestamp, body) for key in self._keys())
            headers = trace_headers() | self._own_headers() | _standard_headers(message_id, timestamp, signatures)
            answer = self.http.request("POST", self.settings.url, headers=headers, body=body)
        except FAILURES as error:
            return outcome_of(error, WRONG_ADDRESS)
        return classify(answer, message_id)

    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        message_id, body = self._message(outgoing, customer)
        timestamp = str(int(clock.now().timestamp()))
        headers = dict.fromkeys(self.settings.headers, MASK) | _standard_headers(message_id, timestamp, f"v1,{MASK}")
        return [PreviewedRequest("POST", self.settings.url, headers, json.loads(body))]

    def _message(self, outgoing: OutgoingLead, customer: Customer) -> tuple[str, bytes]:
        """The call's ID, which is the same for every try, and its body."""
        body: JsonValue = payload(outgoing, customer)
        if self.settings.body is not None:
            body = _map_texts(self.settings.body, lambda template: render(template, outgoing, customer))
        return f"{outgoing.lead_id}_{outgoing.destination}", json.dumps(body, ensure_ascii=False).encode()

    def _keys(self) -> list[bytes]:
        references = [self.settings.secret, self.settings.previous_secret]
        return [signing_key(self.context.secrets.read(reference), reference) for reference in references if reference]

    def _own_headers(self) -> dict[str, str]:
        values = {name: self.context.secrets.read(reference) for name, reference in self.settings.headers.items()}
        for name, value in values.items():
            if not value.isascii() or not value.isprintable():
                raise SettingsError(f"The header {name} has a character that a header can't hold.")
        return values


destination = Webhook


def payload(outgoing: OutgoingLead, customer: Customer) -> dict[str, Any]:
    """The documented body, version `PAYLOAD_VERSION`. Later releases may add fields, but rename and remove none."""
    lead = outgoing.lead
    return {
        "type": "lead.received",
        "version": PAYLOAD_VERSION,
        "timestamp": outgoing.received_at.isoformat(),
        "data": {
            "lead_id": outgoing.lead_id,
            "offer": outgoing.offer,
            "stage": outgoing.stage.value,
            "source": lead.source,
            "action": lead.action,
            "is_test": lead.is_test,
            "repeat_of": outgoing.repeat_of,
            "customer": {
                "key": customer.key,
                "first_name": lead.first_name,
                "last_name": lead.last_name,
                "email": lead.email,
                "phone": lead.phone,
                "company": lead.company,
                "title": lead.title,
                "country": lead.country,
                "country_code": lead.country_code,
                "extra": lead.customer_extra,
            },
            "note": lead.note,
            "campaign": lead.campaign,
            "lead_source": lead.lead_source,
            "product_id": lead.product_id,
            "offer_title": lead.offer_title,
            "publisher": lead.publisher_name or lead.publisher,
            "description": lead.description,
            "extra": lead.extra,
        },
    }


def _standard_headers(message_id: str, timestamp: str, signatures: str) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signatures,
    }


def signing_key(secret: str, reference: str) -> bytes:
    """The key of a Standard Webhooks secret, which is base64 after `whsec_`. Raises `SettingsError` for any other text."""
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not 24 <= len(key) <= 64:
        raise SettingsError(f"{reference} must hold whsec_ and 24 to 64 random bytes in base64 (Standard Webhooks).")
    return key


def sign(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """The signature of a call, after the version of its scheme: `v1,…`."""
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def classify(answer: Answer, message_id: str) -> Outcome:
    """The outcome for the endpoint's status ("Standard Webhooks", section on delivery: 2xx is success, 410 means gone)."""
    status, code = answer.status, str(answer.status)
    if 200 <= status < 300:
        return Delivered(message_id, code)
    if status == 409 or is_transient(status):
        return Retry(code, answer.retry_after)
    if 300 <= status < 400:
        return Misconfigured("The endpoint redirects, and the app follows no redirect: enter the final address.", code)
    if status in {401, 403, 407}:
        return Misconfigured("The endpoint refuses the call: check the signing secret and the headers.", code)
    if status in {404, 405, 410}:
        return Misconfigured("The endpoint does not exist, or does not accept POST: check the address.", code)
    # Receivers with a Standard Webhooks library answer 400 to a wrong signature too.
    return Rejected("The endpoint does not accept this lead.", code, doubtful=status != 413)
