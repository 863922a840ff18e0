"""The page in a real browser: clicked, typed into, seen, and by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import udpft
from tests.cli.processes import Server
from tests.samples import sample
from tests.web.process import Page
from udpft.testing.link import LossyLink
from udpft.web.rendering import PAGES

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium (Debian: apt install chromium)"
)

SIZE = 6_000_000
DESKTOP = {"width": 1100, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of the module: what is served, what is fetched, and reports."""
    top = tmp_path_factory.mktemp("page")
    for name in ("served", "fetched", "reports"):
        (top / name).mkdir()
    (top / "served/film").write_bytes(sample(SIZE))
    (top / "served/a name <b>that is rather long for a telephone.txt").write_bytes(b"x")
    (top / "served/sub").mkdir()
    (top / "reports/harm.html").write_text(
        "<style>p { color: rgb(1, 2, 3) }</style><p id=p>a report</p><script>"
        "document.getElementById('p').textContent = 'harmed'; fetch('/add')</script>"
        "<form id=f action=/bench method=post><button>Go</button></form>"
        "<img src='/assets/icon.svg?harm'>"
    )
    return top


@pytest.fixture(scope="module")
def page(folders: Path, adder: Server, messenger: Server) -> Iterator[Page]:
    with (
        udpft.serve(folders / "served", port=0, writable=True, max_rate="3M") as files,
        Page(
            *("-s", files.address, "--add", adder.address, "--message", messenger.address),
            *("--folder", folders / "fetched", "--reports", folders / "reports"),
        ) as running,
    ):
        yield running


class Tab:
    """A tab of the browser that has opened the page; what it complains of, and asks for."""

    def __init__(self, browser: Any, page: Page, **options: Any) -> None:
        self.base = page.base
        self.context = browser.new_context(
            **{"viewport": {"width": 1100, "height": 900}, **options}
        )
        self.shown = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.shown.on("console", lambda message: self.complaints.append(message.text))
        self.shown.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.shown.on("request", lambda request: self.asked.append(request.url))
        self.shown.on("response", lambda answer: self.answered.append(answer.url))
        self.shown.goto(page.url)
        self.shown.wait_for_url(f"{page.base}/files")

    def go(self, path: str) -> Any:
        """Go to one of its pages."""
        self.shown.goto(f"{self.base}{path}")
        return self.shown


@contextmanager
def opened(browser: Any, page: Page, **options: Any) -> Iterator[Tab]:
    tab = Tab(browser, page, **options)
    try:
        yield tab
    finally:
        tab.context.close()


@pytest.fixture
def tab(browser: Any, page: Page) -> Iterator[Tab]:
    with opened(browser, page) as one:
        yield one
        assert one.complaints == []
        assert [url for url in one.asked if not url.startswith(page.base)] == []


# ---------------------------------------------------------------------------------- with a script


def test_a_file_is_fetched_seen_moving_and_is_the_same(tab: Tab, folders: Path) -> None:
    shown = tab.shown
    shown.get_by_role("button", name="Fetch film", exact=True).click()
    card = shown.get_by_role("article", name="Fetch film").first
    progress = card.locator("progress")
    shares = set()
    while progress.count():
        shares |= set(progress.evaluate_all("all => all.map((one) => one.value)"))
    assert len(shares) >= 3
    card.get_by_text("Done, verified").wait_for()
    assert "6 MB" in card.inner_text()
    assert card.locator("svg title").text_content().startswith("Rate of film over")
    assert shown.locator("#news").inner_text() == "film: done"
    assert (folders / "fetched/film").read_bytes() == sample(SIZE)


def test_a_file_is_brought_by_the_form_and_one_by_dropping_it(tab: Tab, folders: Path) -> None:
    shown = tab.shown
    brought = {"name": "brought.txt", "mimeType": "text/plain", "buffer": b"by the form"}
    shown.set_input_files("#file", brought)
    shown.get_by_role("button", name="Bring", exact=True).click()
    shown.get_by_role("article", name="Bring brought.txt").get_by_text("Done, verified").wait_for()
    assert (folders / "served/brought.txt").read_bytes() == b"by the form"
    dropped = shown.evaluate_handle(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["by a drop"], "dropped.txt"));
            return data;
        }"""
    )
    shown.dispatch_event("#store", "drop", {"dataTransfer": dropped})
    shown.get_by_role("article", name="Bring dropped.txt").get_by_text("Done, verified").wait_for()
    assert (folders / "served/dropped.txt").read_bytes() == b"by a drop"


def test_what_is_too_large_is_told_before_it_leaves(tab: Tab) -> None:
    shown = tab.shown
    shown.eval_on_selector("#store", "(form) => { form.dataset.max = 3; }")
    shown.set_input_files("#file", {"name": "x", "mimeType": "text/plain", "buffer": b"four"})
    shown.get_by_role("button", name="Bring", exact=True).click()
    shown.get_by_role("alert").get_by_text("which this page takes at once").wait_for()
    assert shown.evaluate("document.activeElement.id") == "file"
    assert not [url for url in tab.asked if url.endswith("/files/store")]


def test_17_and_42_are_59(tab: Tab) -> None:
    shown = tab.go("/add")
    shown.get_by_label("Your number").fill("17")
    shown.get_by_role("button", name="Add").click()
    shown.get_by_text("17 + 42 = 59").wait_for()
    shown.get_by_label("Your number").fill("17")
    shown.get_by_label("The server’s number").fill("25")
    shown.get_by_role("button", name="Add").click()
    shown.get_by_text("17 + 25 = 42").wait_for()


def test_a_wrong_number_is_answered_beside_its_field(browser: Any, page: Page) -> None:
    with opened(browser, page) as tab:
        shown = tab.go("/add")
        shown.get_by_label("Your number").fill("five")
        shown.get_by_role("button", name="Add").click()
        alert = shown.get_by_role("alert")
        alert.wait_for()
        assert alert.inner_text() == "Write a whole number from 1 to 100."
        field = shown.get_by_label("Your number")
        assert field.input_value() == "five"
        assert field.get_attribute("aria-invalid") == "true"
        assert alert.get_attribute("id") in field.get_attribute("aria-describedby").split()
        below, above = alert.bounding_box(), field.bounding_box()
        assert abs(below["x"] - above["x"]) < 2
        assert 0 <= below["y"] - above["y"] - above["height"] < 60


def test_a_message_and_its_answer_with_times(tab: Tab) -> None:
    shown = tab.go("/message")
    shown.get_by_label("Text").fill("hello server")
    shown.get_by_role("button", name="Send").click()
    shown.get_by_text("hello client").first.wait_for()
    times = shown.locator("#conversation time").all()
    assert len(times) == 2
    assert all(time.get_attribute("datetime").startswith("20") for time in times)
    assert "round trip" in shown.locator("#conversation").inner_text()


def test_a_measurement_grows_row_by_row(tab: Tab) -> None:
    shown = tab.go("/bench")
    shown.get_by_label("Seconds for a row").fill("0.1")
    shown.get_by_label("Rounds").fill("1")
    shown.get_by_role("button", name="Measure").click()
    shown.locator("#measured tbody tr").nth(5).wait_for()
    shown.locator("#measured").get_by_text("Measuring").wait_for(state="detached")
    assert "bit/s" in shown.locator("#measured tbody tr").first.inner_text()


def test_the_packets_of_a_transfer_are_a_ladder(tab: Tab) -> None:
    shown = tab.shown
    row = shown.get_by_role("row", name="a name <b>that")
    row.locator("summary").click()
    row.get_by_role("button", name="write down each packet").click()
    shown.get_by_role("link", name="See each packet").click()
    shown.wait_for_selector("html[data-drawn]")
    assert shown.locator(".arrow").count() >= 5


def test_what_was_lost_is_red_below_the_curve_and_crossed_out_in_the_ladder(
    browser: Any, tmp_path: Path
) -> None:
    for name in ("served", "fetched"):
        (tmp_path / name).mkdir()
    (tmp_path / "served/film").write_bytes(sample(SIZE // 4))
    with (
        udpft.serve(tmp_path / "served", port=0, max_rate="1M") as server,
        LossyLink(server, loss=0.05, seed=1) as link,
        Page("-s", link.address, "--folder", tmp_path / "fetched") as page,
        opened(browser, page) as tab,
    ):
        shown = tab.shown
        shown.locator("summary").click()
        shown.get_by_role("button", name="write down each packet").click()
        shown.locator("#moving-1 progress ~ figure rect.loss").first.wait_for(state="attached")
        shown.get_by_text("Done, verified").wait_for()
        losses = shown.locator("#transfer-1 rect.loss")
        assert losses.count() >= 3
        reds = losses.evaluate_all("all => all.map((one) => getComputedStyle(one).fill)")
        assert set(reds) == {"rgb(179, 20, 26)"}
        assert " 0 packets sent again" not in shown.locator("#transfer-1").inner_text()
        shown.get_by_role("link", name="See each packet").click()
        shown.wait_for_selector("html[data-drawn]")
        shown.locator("#tab-ladder").click()
        assert shown.locator(".arrow.lost .cross").count() >= 3
    assert (tmp_path / "fetched/film").read_bytes() == sample(SIZE // 4)


# -------------------------------------------------------------------------------- without a script


@pytest.fixture
def plain(browser: Any, page: Page) -> Iterator[Tab]:
    with opened(browser, page, java_script_enabled=False) as one:
        yield one


def test_without_script_files_are_listed_fetched_and_brought(plain: Tab, folders: Path) -> None:
    shown = plain.shown
    shown.get_by_role("link", name="sub/").click()
    assert "There is nothing in this folder" in shown.inner_text("main")
    shown.get_by_role("link", name="All").click()
    shown.get_by_label("Search here and below").fill("fil*")
    shown.get_by_role("button", name="Search").click()
    (folders / "fetched/film").unlink(missing_ok=True)
    shown.get_by_role("button", name="Fetch film", exact=True).click()
    shown.locator(".transfer progress").wait_for()
    shown.locator(".transfer progress").wait_for(state="detached")  # it reloads itself
    assert (folders / "fetched/film").read_bytes() == sample(SIZE)
    plain.go("/files")
    brought = {"name": "plain.txt", "mimeType": "text/plain", "buffer": b"plain"}
    shown.set_input_files("#file", brought)
    shown.get_by_role("button", name="Bring", exact=True).click()
    shown.get_by_role("article", name="Bring plain.txt").get_by_text("Done, verified").wait_for()
    assert (folders / "served/plain.txt").read_bytes() == b"plain"


def test_without_script_sums_and_messages_work(plain: Tab) -> None:
    shown = plain.go("/add")
    shown.get_by_label("Your number").fill("17")
    shown.get_by_role("button", name="Add").click()
    assert "17 + 42 = 59" in shown.inner_text("main")
    plain.go("/message")
    shown.get_by_label("Text").fill("hello without script")
    shown.get_by_role("button", name="Send").click()
    assert "hello without script" in shown.inner_text("main")
    assert "hello client" in shown.inner_text("main")


# ---------------------------------------------------------------------------- what others may do


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """A page on another port of this machine, whose cookies are the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_a_page_of_another_origin_cannot_act_through_it(
    browser: Any, page: Page, folders: Path
) -> None:
    form = f"""<form id=f method=post action="{page.base}/files/fetch">
        <input name=name value=film><input name=form value=x></form>"""
    with opened(browser, page) as tab:
        (folders / "fetched/film").unlink(missing_ok=True)
        with another_site(form) as url:
            tab.shown.goto(url)
            tab.shown.eval_on_selector("#f", "(form) => form.submit()")
            tab.shown.get_by_text("Open the URL that was printed").wait_for()
            tab.shown.goto(url)
            seen = tab.shown.evaluate(
                """async (base) => {
                    try {
                        const answer = await fetch(base + "/files", {credentials: "include"});
                        return await answer.text();
                    } catch (error) { return "nothing"; }
                }""",
                page.base,
            )
            assert seen == "nothing"
            frame = f'<iframe src="{page.base}/files"></iframe>'
            tab.shown.set_content(frame)
            body = tab.shown.frame_locator("iframe").locator("body")
            body.wait_for(state="attached")
            assert "film" not in body.text_content()
        shown = tab.go("/transfers")
        assert not (folders / "fetched/film").exists()
        assert "x" not in shown.locator(".transfer .kind + bdi").all_inner_texts()


def test_a_name_that_is_led_here_shows_nothing(browser: Any, page: Page) -> None:
    with opened(browser, page) as tab:
        led = page.url.replace("127.0.0.1", "evil.example")
        answer = tab.shown.goto(led)
        assert answer.status == 403
        assert "film" not in tab.shown.content()
        assert tab.context.cookies(led) == []


def test_a_report_that_means_harm_does_none(browser: Any, page: Page) -> None:
    with opened(browser, page) as tab:
        shown = tab.go("/reports")
        shown.get_by_role("link", name="harm.html").click()
        shown.wait_for_url("**/reports/file?name=*")
        inside = tab.context.new_cdp_session(shown)  # where no script runs, playwright's does not
        inside.send("DOM.enable")
        inside.send("CSS.enable")
        root = inside.send("DOM.getDocument")["root"]["nodeId"]

        def node(selector: str) -> dict[str, int]:
            found: dict[str, int] = inside.send(
                "DOM.querySelector", {"nodeId": root, "selector": selector}
            )
            return found

        assert "a report" in inside.send("DOM.getOuterHTML", node("p"))["outerHTML"]
        styles = inside.send("CSS.getComputedStyleForNode", node("p"))["computedStyle"]
        assert {"name": "color", "value": "rgb(1, 2, 3)"} in styles
        x, y, right, *_, bottom = inside.send("DOM.getBoxModel", node("button"))["model"]["border"]
        shown.mouse.click((x + right) / 2, (y + bottom) / 2)
        tab.go("/reports")
        assert not [url for url in tab.answered if url.endswith(("/add", "?harm", "/bench"))]


# ----------------------------------------------------------------------------- how it looks


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(browser: Any, page: Page, scheme: str, path: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    with opened(browser, page, color_scheme=scheme, bypass_csp=True) as tab:  # which bars axe, too
        shown = tab.go(path)
        button = shown.locator("main form.stack button")
        if button.count():
            shown.locator("main form.stack input:not([type=hidden])").first.fill("")
            button.first.click()
            shown.get_by_role("alert").first.wait_for()
        found = axe.Axe().run(shown).response["violations"]
        assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found] == []


@pytest.mark.parametrize("path", PAGES)
def test_on_a_phone_nothing_is_cut_off_or_lies_upon_another(
    browser: Any, page: Page, path: str
) -> None:
    with opened(browser, page, viewport=PHONE) as tab:
        shown = tab.go(path)
        assert shown.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        over = shown.evaluate(
            """() => {
                const kinds = "h1, h2, h3, label, main p, a, button, input:not([type=hidden]), " +
                    "summary, td, th, figcaption, progress";
                const boxes = [...document.querySelectorAll(kinds)]
                    .map((one) => [one, one.getBoundingClientRect()])
                    .filter(([one, box]) => one.checkVisibility() && box.width > 2)
                    .filter(([one, box]) => box.left >= 0);
                const over = [];
                boxes.forEach(([a, one], at) => boxes.slice(at + 1).forEach(([b, other]) => {
                    if (a.contains(b) || b.contains(a)) return;
                    const beside = one.right - 1 <= other.left || other.right - 1 <= one.left;
                    const below = one.bottom - 1 <= other.top || other.bottom - 1 <= one.top;
                    if (!beside && !below) over.push(a.outerHTML + " / " + b.outerHTML);
                }));
                return over;
            }"""
        )
        assert over == []
        small = shown.eval_on_selector_all(
            "main button, main input:not([type=hidden]):not([type=checkbox]), main summary",
            """all => all.filter((one) => one.offsetParent && one.offsetHeight < 34)
                .map((one) => one.outerHTML)""",
        )
        assert small == []


def test_all_can_be_done_by_keyboard(browser: Any, page: Page) -> None:
    with opened(browser, page) as tab:
        shown = tab.go("/add")
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.textContent") == "Skip to the page"
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert shown.evaluate(outline) == "solid"
        shown.keyboard.press("Enter")
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.id") == "number"
        shown.keyboard.type("8")
        shown.keyboard.press("Tab")
        shown.keyboard.type("9")
        shown.keyboard.press("Enter")
        shown.get_by_text("8 + 9 = 17").wait_for()
        tab.go("/files")
        seen: set[str] = set()
        for _ in range(60):
            shown.keyboard.press("Tab")
            seen.add(shown.evaluate("document.activeElement.ariaLabel || ''"))
        assert {"Fetch film", "More ways to fetch film"} <= seen


def test_on_paper_there_is_what_was_said_and_no_forms(browser: Any, page: Page) -> None:
    with opened(browser, page, color_scheme="dark") as tab:
        shown = tab.go("/files")
        shown.emulate_media(media="print")
        assert not shown.locator("header").is_visible()
        assert not shown.locator("#store").is_visible()
        assert shown.get_by_role("row", name="film").first.is_visible()
        white = "getComputedStyle(document.body).backgroundColor"
        assert shown.evaluate(white) == "rgb(255, 255, 255)"
