"""Salesforce Web-to-Lead: posts each lead as a web form, with the organization's ID as the only credential.

Salesforce answers 200 for every lead, so that a delivery is never confirmed. Web-to-Lead has no idempotency key.

Sources: Salesforce Help, "How many leads can we capture from our website?" (500 in 24 hours, then a queue), "What happens to my
web leads / cases if Salesforce is experiencing difficulty?" (Salesforce keeps them, at this address only), 000387310 (duplicate
rules block); Salesforce, "Troubleshoot AppExchange Leads" (a country that is not in the picklist); the generated form (names and
lengths of fields).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Final
from urllib.parse import urlencode

from pydantic import Field, JsonValue, field_validator

from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry, Unknown
from leads.destinations.base import (
    OWN_OUTAGE_SECONDS,
    CheckResult,
    Customer,
    Destination,
    DestinationSettings,
    MappingValue,
    OutgoingLead,
    PreviewedRequest,
)
from leads.destinations.daily_quota import DailyQuota, UsedUp
from leads.destinations.follow_up import FollowUp
from leads.destinations.http import Answer, NoAnswer
from leads.destinations.mapping import render_mapping
from leads.destinations.rate_limiter import ALLOWANCES_TABLE
from leads.destinations.text import NOT_PROVIDED, truncate
from leads.destinations.vendor_errors import check_result, unanswered
from leads.platform.events import Event, emit
from leads.platform.once import once
from leads.platform.storage import StorageError

FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
HANDED_OVER: Final = "handed_over_unconfirmed"
DAILY_LIMIT: Final = "daily_limit"
NO_ALLOWANCE: Final = "allowance_unavailable"
WRONG_ADDRESS: Final = "The address is not Salesforce's, or its host has no TLS: check url."
NO_FORM_THERE: Final = "The address has no Web-to-Lead form, or the form has moved: check url."

DEFAULT_MAPPING: Final[Mapping[str, MappingValue]] = {
    "first_name": "{first_name}",
    "last_name": "{last_name_or_placeholder}",
    "email": "{email}",
    "phone": "{phone}",
    "company": "{company_or_domain}",
    "title": "{title}",
    "lead_source": "{lead_source}",
    "rating": "{rating_name}",
    "description": "{story}",
}
"""Without a country. If an organization has country picklists, Salesforce drops a lead whose country is spelled differently."""

REQUIRED: Final = {"last_name": NOT_PROVIDED, "company": NOT_PROVIDED}
"""Without one of these fields, Salesforce creates no lead and reports no error."""

DO_NOT_CONTACT: Final = {"emailOptOut": "1", "faxOptOut": "1", "doNotCall": "1"}

LENGTHS: Final[Mapping[str, int]] = {
    "first_name": 40,
    "last_name": 80,
    "email": 80,
    "phone": 40,
    "mobile": 40,
    "company": 40,
    "title": 40,
    "city": 40,
    "state": 20,
    "zip": 20,
    "country": 40,
    "url": 80,
    "lead_source": 40,
    "description": 32_000,
}
"""The lengths in the generated form, although some columns hold more. Salesforce drops a lead with a longer text."""

NOT_TRUNCATED: Final = frozenset({"email", "phone", "mobile", "url"})
"""A truncated address or number would be wrong. Such a field is left out, and the description has the complete value."""

_EMAIL: Final = re.compile(
    r"[\w!#$%&'*+/=?^`{|}~-][\w.!#$%&'*+/=?^`{|}~-]*@([A-Za-z0-9-]+\.)+[A-Za-z][A-Za-z0-9-]+", re.ASCII
)
"""E-mail addresses that Salesforce accepts (Salesforce Help, 000001145), without comments and international addresses."""

_SUFFIX: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def id_suffix(short: str) -> str:
    """The last three characters of an 18-character ID. Each encodes which of five characters are capital letters."""
    fives = (short[start : start + 5] for start in (0, 5, 10))
    return "".join(_SUFFIX[sum(1 << place for place, letter in enumerate(five) if letter.isupper())] for five in fives)


def _has_right_suffix(identifier: str) -> bool:
    return identifier[15:] in {"", id_suffix(identifier[:15])}


class WebToLeadSettings(DestinationSettings):
    """The organization, the form's address, and the daily limit. Web-to-Lead needs no secret."""

    oid: str = Field(
        title="Organization ID",
        pattern=r"^00D[A-Za-z0-9]{12}([A-Za-z0-9]{3})?$",
        description="Setup > Company Information > Salesforce.com Organization ID: 15 or 18 characters, 00D…",
    )
    url: str = Field(
        "https://webto.salesforce.com/servlet/servlet.WebToLead",
        title="Address of the form",
        pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?/[^\s?#]*$",
        max_length=200,
        description="Address that the form posts to, without a query (?…). A sandbox has another host.",
    )
    daily_limit: int = Field(
        500,
        title="Leads in 24 hours",
        ge=1,
        le=100_000,
        description="Web-to-Lead's limit in 24 hours; further leads wait in the app. Salesforce raises the limit on request.",
    )

    @field_validator("oid")
    @classmethod
    def _is_copied_whole(cls, oid: str) -> str:
        if not _has_right_suffix(oid):
            raise ValueError(
                "its last three characters do not fit the others: copy it again, or leave them out; capitals count"
            )
        return oid

    @property
    def organization(self) -> str:
        """The ID as the form has it."""
        return self.oid[:15]


class WebToLead(Destination):
    """Posts leads to an organization's Web-to-Lead form."""

    Settings: ClassVar[type[DestinationSettings]] = WebToLeadSettings
    replay_warning = "Salesforce creates a second lead record, because a form can't recognise a repeated lead."
    settings: WebToLeadSettings
    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = DEFAULT_MAPPING
    follow_ups: ClassVar[frozenset[str]] = frozenset({"rating", "campaign"})

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, WebToLeadSettings)  # noqa: S101
        # A connection with a lower limit is used up earlier. Its pause must not stop the others.
        return (settings.url, settings.organization, str(settings.daily_limit))

    @classmethod
    def check_follow_up(cls, follow_up: FollowUp) -> None:
        super().check_follow_up(follow_up)
        campaign = follow_up.campaign
        if campaign and not (
            re.fullmatch(r"701[A-Za-z0-9]{12}([A-Za-z0-9]{3})?", campaign) and _has_right_suffix(campaign)
        ):
            raise ValueError("campaign: must be the campaign's ID as in Salesforce: 15 or 18 characters, 701…")

    @property
    def idempotent(self) -> bool:
        return False

    @once
    def quota(self) -> DailyQuota:
        def make() -> DailyQuota:
            table = self.context.storage.table(ALLOWANCES_TABLE)
            return DailyQuota(table, "web_to_lead", self.settings.organization, self.settings.daily_limit)

        return self.context.shared(("daily quota", self.connection), make)

    def check(self) -> CheckResult:
        """Whether the daily limit has room and the address answers. No request can show whether the form accepts leads."""
        try:
            until = self.quota.used_up_until()
        except StorageError:
            return CheckResult(
                ok=False, problem="the app's own storage did not answer", code=NO_ALLOWANCE, transient=True
            )
        if until is not None:
            return CheckResult(ok=False, problem=self._used_up(until), code=DAILY_LIMIT)
        try:
            answer = self.http.request("HEAD", self.settings.url)
        except NoAnswer as error:
            return check_result(unanswered(error, WRONG_ADDRESS), "the form did not answer")
        code = str(answer.status)
        if answer.status in _NOT_THERE:
            return CheckResult(ok=False, problem=NO_FORM_THERE, code=code)
        if answer.status >= 500:
            return CheckResult(ok=False, problem="the form did not answer", code=code, transient=True)
        return CheckResult(ok=True)

    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        fields: JsonValue = {**self._fields(outgoing, customer)}
        return [PreviewedRequest("POST", self._form_address, FORM, fields)]

    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        fields = self._fields(outgoing, customer)
        try:
            taken = self.quota.take()
        except UsedUp as used_up:
            return Misconfigured(self._used_up(used_up.until), DAILY_LIMIT)
        except StorageError:
            return Retry(NO_ALLOWANCE, OWN_OUTAGE_SECONDS, ours=True)
        outcome = self._post(encode(fields))
        if isinstance(outcome, Retry | Misconfigured):
            self._give_back(taken)
        return outcome

    @property
    def _form_address(self) -> str:
        return f"{self.settings.url}?encoding=UTF-8&orgId={self.settings.organization}"

    def _fields(self, outgoing: OutgoingLead, customer: Customer) -> dict[str, str]:
        return form(self.mapping, outgoing, customer) | {"oid": self.settings.organization, "encoding": "UTF-8"}

    def _post(self, body: str) -> Outcome:
        try:
            answer = self.http.request("POST", self._form_address, headers=FORM, body=body)
        except NoAnswer as error:
            return Unknown(error.failure) if error.sent else unanswered(error, WRONG_ADDRESS)
        return classify(answer)

    def _give_back(self, taken: str) -> None:
        try:
            self.quota.give_back(taken)
        except StorageError as error:
            emit(Event.STORAGE_UNAVAILABLE, what="allowances", why=type(error).__name__)

    def _used_up(self, until: datetime) -> str:
        return (
            f"Salesforce accepts {self.settings.daily_limit} leads in 24 hours from Web-to-Lead. "
            f"The app sends the next leads from {until:%Y-%m-%d %H:%M} UTC."
        )


destination = WebToLead


def form(mapping: Mapping[str, MappingValue], outgoing: OutgoingLead, customer: Customer) -> dict[str, str]:
    """The lead as form fields. The mapping overrides every field. The fields that Salesforce requires are always present."""
    fields = dict(DO_NOT_CONTACT) if outgoing.set_do_not_contact else {}
    if outgoing.follow_up.campaign:
        fields["Campaign_ID"] = outgoing.follow_up.campaign
    fields |= {name: _fitted(name, value) for name, value in render_mapping(mapping, outgoing, customer).items()}
    return REQUIRED | {name: text for name, text in fields.items() if text}


def _fitted(name: str, value: str | float | bool) -> str:
    """A field's text as the form can hold it. "" means that the field is left out, such as a box that is not ticked."""
    if isinstance(value, bool):
        return "1" if value else ""
    text = truncate(str(value), LENGTHS[name]) if name in LENGTHS else str(value)
    if name in NOT_TRUNCATED and text != str(value):
        return ""
    return text if name != "email" or _EMAIL.fullmatch(text) else ""


def encode(fields: Mapping[str, str]) -> str:
    """The body of a form. Half a surrogate pair has no encoding and becomes a question mark."""
    return urlencode(fields, encoding="utf-8", errors="replace")


_NOT_THERE: Final = frozenset({301, 307, 308, 404, 410})


def classify(answer: Answer) -> Outcome:
    """The outcome for the answer to a form, by RFC 9110, section 15. Salesforce documents no answers.

    The outcome is unknown after a status that a gateway may send although the server has acted, and after the redirect by which
    a form's handler sends a browser on. The header `is-processed` is undocumented. Public integrations read an exception in it
    as "no lead was created".
    """
    status, code = answer.status, str(answer.status)
    if 200 <= status < 300:
        if "exception" in answer.headers.get("is-processed", "").lower():
            return Rejected(
                "Salesforce could not process the lead: check oid, the mapped fields, and the organization's required fields "
                "and rules.",
                "is_processed_exception",
            )
        return Delivered("", HANDED_OVER, unconfirmed=True)
    if status in _NOT_THERE:
        return Misconfigured(NO_FORM_THERE, code)
    if status in {401, 403, 405, 407}:
        return Misconfigured("The address refuses the form: check url, and any proxy between the app and it.", code)
    if status in {408, 425, 429, 503}:
        return Retry(code, answer.retry_after)
    if 400 <= status < 500:
        return Rejected("The address does not accept this lead.", code)
    return Unknown(code)
