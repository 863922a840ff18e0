"""Access to the page: token, cookie, host, origin, and the headers of every answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from starlette.datastructures import Headers
from starlette.websockets import WebSocketDisconnect

from tests.web.visitor import HOST, Visitor
from udpft.web.access import Access, is_loopback

PATHS = ["/", "/files", "/add", "/message", "/transfers", "/bench", "/reports", "/nothing"]
PATHS += ["/assets/page.css", "/assets/page.js", "/live/transfers", "/reports/file?name=x"]


@pytest.fixture
def stranger() -> Iterator[Visitor]:
    """Somebody who has not opened the URL."""
    with Visitor() as one:
        yield one


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_shown(stranger: Visitor, path: str) -> None:
    for wrong in ("", "?token=", f"?token={'x' * 43}", "?token=%ff"):
        answer = stranger.http.get(path + wrong if "?" not in path else path)
        assert answer.status_code == 403
        assert answer.text == "Open the URL that was printed when this page was started.\n"
        assert "set-cookie" not in answer.headers


def test_without_the_token_nothing_is_done(stranger: Visitor) -> None:
    assert stranger.send("/add", number="17").status_code == 403
    assert stranger.send(f"/add?token={stranger.access.token}", number="17").status_code == 403


def test_the_token_is_exchanged_for_a_cookie_that_only_the_browser_reads(
    stranger: Visitor,
) -> None:
    answer = stranger.http.get(f"/?token={stranger.access.token}")
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch("udpft_8080=[^;]{43}; HttpOnly; Path=/; SameSite=strict", cookie)
    assert stranger.access.token not in cookie
    assert stranger.access.token not in answer.text
    assert "url=/files" in answer.text
    assert stranger.http.get("/add").status_code == 200


def test_a_wrong_cookie_is_none(stranger: Visitor) -> None:
    for cookie in ("udpft_8080=x", "udpft_8080=", "x", "udpft_8080=\x80", "; ; =", "udpft_1=y"):
        answer = stranger.http.get("/add", headers={"Cookie": cookie.encode("latin-1")})
        assert answer.status_code == 403


def test_a_name_that_leads_here_is_none_of_ours(visitor: Visitor) -> None:
    others = ("evil.example:8080", "evil.example", "127.0.0.1.evil.example", "", "[", "10.0.0.1")
    for host in others:
        answer = visitor.http.get("/files", headers={"Host": host})
        assert answer.status_code == 403, host
        assert "hello.txt" not in answer.text
    for host in ("127.0.0.1:8080", "localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST"):
        assert visitor.http.get("/files", headers={"Host": host}).status_code == 200, host


def test_on_all_addresses_each_may_be_asked_for_and_no_name_but_this_machines() -> None:
    access = Access("0.0.0.0", 8080)
    for host, refused in (("10.1.2.3:8080", False), ("[fe80::1]", False), ("evil.example", True)):
        assert bool(access.refusal("GET", Headers({"host": host}))) is refused


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": f"file://{HOST}"},
        {"Sec-Fetch-Site": "cross-site", "Origin": f"http://{HOST}"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {},
    ],
)
def test_another_origin_cannot_act_even_with_the_cookie_and_the_forms_number(
    visitor: Visitor, headers: dict[str, str]
) -> None:
    form = {"form": visitor.access.form_token, "number": "17", "name": "Ada"}
    assert visitor.http.post("/add", data=form, headers=headers).status_code == 403
    assert "= 59" not in visitor.see("/add")


def test_no_part_of_another_page_is_sent_and_links_lead_here(visitor: Visitor) -> None:
    for site in ("same-site", "cross-site"):
        for mode, status in (("no-cors", 403), ("cors", 403), ("navigate", 200)):
            headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
            assert visitor.http.get("/add", headers=headers).status_code == status
    own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"}
    assert visitor.http.get("/assets/page.js", headers=own).status_code == 200


def test_a_form_of_ours_that_does_not_say_where_it_comes_from_needs_the_browsers_word(
    visitor: Visitor,
) -> None:
    form = {"form": visitor.access.form_token, "number": "17", "name": "Ada"}
    answer = visitor.http.post("/add", data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 303


@pytest.mark.parametrize("path", [*PATHS[:-2], "/reports/file?name=x"])
def test_every_answer_forbids_what_a_page_does_not_need(visitor: Visitor, path: str) -> None:
    for answer in (visitor.http.get(path), visitor.http.get(path, headers={"Host": "x.example"})):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe-inline" not in policy
        assert "unsafe-eval" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answer.headers


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.8.8.8")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "files.lan", "10.0.0.1")))


def test_web_sockets_are_closed(visitor: Visitor) -> None:
    with pytest.raises(WebSocketDisconnect) as refused, visitor.http.websocket_connect("/files"):
        pass
    assert refused.value.code == 1008
