"""The page in a container: its URL from the log, opened from the host, and what it asks for."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.containers.project import Project, wait_until

pytestmark = [pytest.mark.container, pytest.mark.timeout(1_000)]


def test_the_page_talks_to_the_three_servers(project: Project) -> None:
    project.up("web")
    wait_until(lambda: any("token=" in line for line in project.logs("web")), "a URL in the log")
    [url] = [line for line in project.logs("web") if "token=" in line]
    assert url.startswith("http://127.0.0.1:8080/?token=")
    base = url.partition("/?")[0]
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    browser.open(url).close()

    def see(path: str) -> str:
        with browser.open(base + path) as answer:
            return str(answer.read().decode())

    def send(path: str, **fields: str) -> str:
        [number] = set(re.findall('name="form" value="([^"]*)"', see("/files")))
        data = urllib.parse.urlencode({"form": number, **fields}).encode()
        request = urllib.request.Request(base + path, data, {"Origin": base})
        with browser.open(request) as answer:
            return str(answer.read().decode())

    assert "hello.txt" in see("/files")
    send("/files/fetch", name="hello.txt", kind="file")
    wait_until(lambda: "Done, verified" in see("/transfers"), "the file is here")
    assert (project.downloads / "hello.txt").read_bytes() == (
        project.folder / "data/hello.txt"
    ).read_bytes()
    assert "17 + 42 = 59" in send("/add", number="17", name="Ada")
    assert "Server on messenger" in send("/message", text="hello", name="Ada")
    assert "reports/report.html" in see("/reports")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{base}/files")


def test_the_page_is_published_to_this_machine_only(project: Project) -> None:
    ports = project.inspect("web", "{{json .HostConfig.PortBindings}}")
    assert ports == '{"8080/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}'
    assert project.inspect("web", "{{.HostConfig.ReadonlyRootfs}}") == "true"
