"""Page of a trace: whole in itself, and in a real browser, seen and by keyboard."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trace.test_model import End, conversation
from tests.trace.test_packets import burst
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.trace.page import page_of
from udpft.trace.qlog import NotATrace

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

in_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium (Debian: apt install chromium)"
)

SIZES = {"desktop": (1200, 900), "phone": (390, 844)}


def lines_of(end: End) -> io.BytesIO:
    return io.BytesIO(b"".join(b"\x1e" + json.dumps(one).encode() + b"\n" for one in end.records))


def short() -> str:
    client, server = conversation()
    return page_of([lines_of(client), lines_of(server)])


def long() -> str:
    server = conversation()[1]
    for at in range(600):
        server.sends(
            10 + at, burst(40 * at + 9, list(range(9 + 40 * at, 49 + 40 * at)), 64, 64), 88
        )
    server.sends(700, burst(90_000, [17], 64, 64), 88)
    return page_of([lines_of(server)])


def test_it_refers_to_nothing_outside_and_may_load_nothing() -> None:
    page = short()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.findall(r"""(?:src|href)\s*=|@import|url\(["']?http""", page)
    assert re.findall(r"https?://[^\"\s]*", page) == ["http://www.w3.org/2000/svg"]


def test_names_from_the_network_are_text_and_nothing_else() -> None:
    client = End("client")
    name = b"</script><img src=x onerror=alert(1)>"
    client.sends(0, encode_hello(Hello(1, 7, name, 64, 9), 1200))
    page = page_of([lines_of(client)])
    assert "<img" not in page
    assert page.count("</script>") == 2


def test_what_is_no_trace_is_refused() -> None:
    with pytest.raises(NotATrace):
        page_of([io.BytesIO(b"hello\n")])


# ----------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Shown:
    """A page in the browser, which has no network; what it complains of, and asks for."""

    def __init__(self, browser: Any, path: Path, html: str, scheme: str, size: str) -> None:
        width, height = SIZES[size]
        self.context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}, offline=True
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        path.write_text(html)
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn]")

    def overlapping(self, selector: str) -> list[str]:
        """Texts of a kind that lie upon each other."""
        found: list[str] = self.page.evaluate(
            """(selector) => {
                const all = [...document.querySelectorAll(selector)];
                const boxes = all.filter((one) => one.textContent)
                    .map((one) => [one.textContent, one.getBoundingClientRect()]);
                const over = [];
                boxes.forEach(([a, one], at) => boxes.slice(at + 1).forEach(([b, other]) => {
                    const beside = one.right - 1 <= other.left || other.right - 1 <= one.left;
                    const below = one.bottom - 3 <= other.top || other.bottom - 3 <= one.top;
                    if (!beside && !below) over.push(a + " / " + b);
                }));
                return over;
            }""",
            selector,
        )
        return found


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@in_browser
def test_the_ladder_shows_every_packet_and_nothing_lies_upon_another(
    browser: Any, tmp_path: Path, scheme: str, size: str
) -> None:
    shown = Shown(browser, tmp_path / "t.html", short(), scheme, size)
    page = shown.page
    assert page.locator(".arrow").count() == 15
    assert page.locator(".arrow.lost").count() == 2
    assert page.locator(".cross").count() == 4
    assert shown.overlapping("#rungs text, #heads b") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    page.locator(".arrow").first.locator(".hit").dispatch_event("click")
    detail = page.locator("#detail")
    assert "HELLO get 'x'" in detail.inner_text()
    assert "0000  81 00" in detail.inner_text()
    assert shown.complaints == []
    assert shown.asked == [(tmp_path / "t.html").as_uri()]
    shown.context.close()


@in_browser
def test_the_charts_can_be_zoomed_and_moved_and_nothing_lies_upon_another(
    browser: Any, tmp_path: Path, scheme: str, size: str
) -> None:
    shown = Shown(browser, tmp_path / "t.html", long(), scheme, size)
    page = shown.page
    assert page.locator("#tab-charts").get_attribute("aria-selected") == "true"
    assert page.locator("#clock").inner_text() == "699.0 ms in all"
    before = page.locator(".chart path.a").first.get_attribute("d")
    page.locator("#in").click()
    page.locator("#in").click()
    assert page.locator(".chart path.a").first.get_attribute("d") != before
    zoomed = page.locator("#clock").inner_text()
    assert " to " in zoomed
    page.keyboard.press("PageDown")
    assert page.locator("#clock").inner_text() != zoomed
    assert shown.overlapping("#charts text") == []
    page.locator("#all").click()
    assert page.locator(".chart path.a").first.get_attribute("d") == before
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert shown.complaints == []
    shown.context.close()


@in_browser
def test_all_can_be_done_by_keyboard(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "t.html", short(), "light", "desktop")
    page = shown.page
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#detail h2").inner_text() == "2. RETRY"
    page.keyboard.press("End")
    assert page.locator("#detail h2").inner_text().startswith("15. ")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "tab-ladder"
    page.keyboard.press("ArrowRight")
    assert page.locator("#charts").is_visible()
    assert page.evaluate("document.activeElement.id") == "tab-charts"
    page.keyboard.press("ArrowLeft")
    assert page.locator("#ladder").is_visible()
    shown.context.close()


@in_browser
def test_playing_shows_one_packet_after_another_and_ends(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "t.html", short(), "light", "desktop")
    page = shown.page
    page.locator("#play").click()
    page.wait_for_selector(".arrow.later", state="attached")
    assert page.locator("#play").inner_text() == "Pause"
    page.locator("#play", has_text="Play").wait_for()
    assert page.locator(".arrow.later").count() == 0
    shown.context.close()


@in_browser
def test_the_same_is_there_in_words(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "t.html", short(), "light", "desktop")
    page = shown.page
    page.locator("#words summary").click()
    rows = page.locator("#table tbody tr")
    rows.first.wait_for()
    assert rows.count() == 15
    assert "lost" in rows.filter(has_text="DATA 1, chunk 1").inner_text()
    titles = page.locator("svg[role=img] > title")
    assert all(titles.nth(at).text_content() for at in range(titles.count()))
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button')].filter((one) => !one.textContent.trim()).length"
    )
    assert unnamed == 0
    shown.context.close()


@in_browser
def test_on_paper_both_views_are_there_and_no_buttons(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "t.html", short(), "dark", "desktop")
    page = shown.page
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#ladder").is_visible()
    assert page.locator("#charts").is_visible()
    assert not page.locator("#tools").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shown.context.close()


@in_browser
@pytest.mark.parametrize("made", [short, long])
def test_axe_finds_nothing(
    browser: Any, tmp_path: Path, scheme: str, made: Callable[[], str]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    (tmp_path / "t.html").write_text(made())
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # which bars axe, too
    page = context.new_page()
    page.goto((tmp_path / "t.html").as_uri())
    page.wait_for_selector("html[data-drawn]")
    page.keyboard.press("ArrowRight")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"]) for one in found] == []
    context.close()
