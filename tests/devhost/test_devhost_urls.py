"""Decoding of request addresses before the app sees them."""

from __future__ import annotations

import posixpath
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devhost.urls import decode, encode, path_of, query_of

TEXT = st.text(alphabet=st.characters(codec="utf-8"))
NO_SLASH = st.text(alphabet=st.characters(exclude_characters="/", codec="utf-8"))


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("caf%C3%A9", "café"),
        ("100%", "100%"),
        ("a%2fb%2Fc", "a%2fb%2Fc"),
        ("%E2%82%AC%2F%E2%82%AC", "€%2F€"),
        ("%FF", "%FF"),
        ("%41%FF%42", "A%FFB"),
        ("%C3", "%C3"),
        ("%252F", "%2F"),
        ("a+b", "a+b"),
    ],
)
def test_percent_decoding_is_that_of_kestrel(sent: str, seen: str) -> None:
    assert decode(sent) == seen


@given(NO_SLASH)
def test_a_quoted_value_arrives_as_it_was(text: str) -> None:
    assert decode(quote(text, safe="")) == text


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/api/leads/a", "/api/leads/a"),
        ("/api/./leads/../manage", "/api/manage"),
        ("/api/leads/%2e%2E/manage", "/api/manage"),
        ("/api/leads/..%2Fmanage", "/api/leads/..%2Fmanage"),
        ("/../../api", "/api"),
        ("/api/..", "/"),
        ("/api/leads/.", "/api/leads/"),
        ("/api/leads//..", "/api/leads/"),
        ("/api//leads", "/api//leads"),
        ("/api/...", "/api/..."),
    ],
)
def test_dots_are_gone_before_a_route_is_looked_for(target: str, path: str) -> None:
    assert path_of(target) == path


DOTTED = st.lists(st.sampled_from([".", "..", "%2e", "%2E.", "a", "b", "..."]), min_size=1).map(
    lambda segments: "/" + "/".join(segments)
)


@given(DOTTED)
def test_dots_lead_where_a_file_system_would_go(target: str) -> None:
    assert path_of(target).rstrip("/") == posixpath.normpath(decode(target)).rstrip("/")


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/a b/ü", "/a%20b/%C3%BC"),
        ("/a%2Fb", "/a%2Fb"),
        ("/100%", "/100%25"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("/~a:b@c!$&'()*+,;=-._", "/~a:b@c!$&'()*+,;=-._"),
    ],
)
def test_the_url_that_a_function_sees_is_encoded_again(path: str, url: str) -> None:
    assert encode(path) == url


@given(TEXT.map(lambda text: path_of("/" + quote(text))))
def test_an_encoded_path_is_plain_and_leads_to_the_same_place(path: str) -> None:
    assert encode(path).isascii()
    assert decode(encode(path)) == decode(path)


@pytest.mark.parametrize(
    ("url", "query"),
    [
        ("http://x/", {}),
        ("http://x/?x=1&X=2", {"x": "1,2"}),
        ("http://x/?limit=&a=1&b", {"a": "1"}),
        ("http://x/?a=&a=1", {"a": ",1"}),
        ("http://x/?a=x+y%26z#f=1", {"a": "x y&z"}),
    ],
)
def test_a_query_is_read_as_the_host_reads_it(url: str, query: dict[str, str]) -> None:
    assert query_of(url) == query


@given(st.lists(st.tuples(st.sampled_from(["a", "A", "b"]), TEXT)))
def test_whatever_a_query_says_arrives_except_what_is_empty(sent: list[tuple[str, str]]) -> None:
    url = "http://x/?" + "&".join(f"{name}={quote_plus(value)}" for name, value in sent)
    seen = {name.lower(): value for name, value in query_of(url).items()}
    for name in ("a", "b"):
        joined = ",".join(value for key, value in sent if key.lower() == name)
        assert seen.get(name, "") == joined
    assert all(seen.values())
