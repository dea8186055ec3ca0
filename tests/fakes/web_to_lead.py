"""Salesforce's Web-to-Lead form over TLS. It answers 200 to every lead, and only the test sees whether there is a lead.

As Salesforce documents it (`leads/destinations/vendors/salesforce_web_to_lead.py` has the sources): a wrong organization, a
missing required field, a value that a column or picklist does not take, a duplicate rule: no lead, and not a word of it.
Whether a text may be longer than the generated form admits is documented nowhere: here it may not. Over the limit requests wait
in a queue of Salesforce's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.tls import Authority

OID = "00Dxx0000001gER"
OFFER_FIELD = "00Nxx000000AbCd"
"""A custom field, by its ID as the generated form has it."""
PATH = "/servlet/servlet.WebToLead"

LENGTHS = {
    "first_name": 40, "last_name": 80, "email": 80, "phone": 40, "company": 40, "title": 40, "country": 40,
    "lead_source": 40, "description": 32_000, "rating": 40, "Campaign_ID": 18, OFFER_FIELD: 255,
    "emailOptOut": 1, "faxOptOut": 1, "doNotCall": 1,
}  # fmt: skip
_ADDRESS = re.compile(r"[^@\s.][^@\s]*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_PAGE = b"<html><head><meta http-equiv='Refresh' content='0; URL='></head><body></body></html>"


class WebToLead(VendorServer):
    """`leads` holds the fields of each lead there is, `dropped` why there is no lead, `pending` what was over the limit.

    `picklists` are the values that a field takes, where it does not take every text.
    """

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.limit = 500
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.leads: list[dict[str, str]] = []
        self.pending: list[dict[str, str]] = []
        self.dropped: list[str] = []
        self.picklists: dict[str, set[str]] = {"rating": {"Hot", "Warm", "Cold"}}
        self.duplicate_rule = False
        self.says_exception = False
        self._taken_at: list[datetime] = []

    @property
    def url(self) -> str:
        return f"{super().url}{PATH}"

    def answer(self, request: Request) -> Response:
        if request.path != PATH:
            return Response(404)
        if request.method != "POST":
            return Response(200, _PAGE)
        encoding = request.query.get("encoding", "ISO-8859-1")
        form = dict(parse_qsl(request.body.decode("ascii"), keep_blank_values=True, encoding=encoding, errors="strict"))
        problem = self._problem(form)
        if problem:
            self.dropped.append(problem)
        elif self._is_over_the_limit():
            self.pending.append(form)
        else:
            self.leads.append({name: text for name, text in form.items() if name in LENGTHS and text})
        headers = {"Content-Type": "text/html;charset=UTF-8"}
        if self.says_exception:
            failed = " Exception:common.exception.SalesforceGenericException" if problem else ""
            headers["Is-Processed"] = f"true{failed}"
        return Response(200, _PAGE, headers)

    def _problem(self, form: dict[str, str]) -> str:
        if form.get("oid") != OID:
            return "there is no such organization"
        for name in ("last_name", "company"):
            if not form.get(name, "").strip():
                return f"{name} is missing"
        for name, text in form.items():
            if len(text.encode("utf-16-le")) // 2 > LENGTHS.get(name, 10**6):
                return f"{name} is too long"
            if text and text not in self.picklists.get(name, {text}):
                return f"{name} is not in the picklist"
        email = form.get("email", "")
        if email and not _ADDRESS.fullmatch(email):
            return "email is not an address"
        if self.duplicate_rule and email and any(lead.get("email") == email for lead in self.leads):
            return "a duplicate rule"
        return ""

    def _is_over_the_limit(self) -> bool:
        now = self.now()
        self._taken_at = [moment for moment in self._taken_at if now - moment < timedelta(hours=24)]
        if len(self._taken_at) >= self.limit:
            return True
        self._taken_at.append(now)
        return False
