"""Conversations between two containers, read back from the engine's logs."""

from __future__ import annotations

import re

import pytest

from tests.containers.project import Project, docker

pytestmark = [pytest.mark.container, pytest.mark.timeout(1_000)]

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"


def test_two_containers_add_their_numbers(project: Project) -> None:
    project.up("adder")  # builds, where nothing is built yet, and is noisy then
    printed = project.run("client", "add", "send", "17", "--name", "Client of Ada")
    assert printed == "17 (Client of Ada) + 42 (Server on adder) = 59\n"
    assert project.logs("adder")[-1] == printed.strip()


def test_a_number_out_of_range_stops_the_adder_until_the_next_client(project: Project) -> None:
    project.run("client", "add", "send", "500", "--name", "Ada", "--timeout", "1")
    assert docker("wait", project.container("adder")) == "0"
    assert project.logs("adder")[-1] == "500 (Ada) is outside 1 to 100: Server on adder stops"
    assert project.run("client", "add", "send", "1", "--name", "Ada").endswith("= 43\n")


def test_a_message_and_its_answer_have_their_times_in_the_log(project: Project) -> None:
    project.up("messenger")
    printed = project.run("client", "message", "send", "hello server", "--name", "Client of Ada")
    assert re.fullmatch(
        rf"{TIME} sent to messenger:9002: hello server\n"
        rf"{TIME} acknowledged by Server on messenger \(messenger:9002\), sent {TIME}, "
        r"round trip [\d.]+ (µs|ms|s)\n",
        printed,
    )
    received, answered = project.logs("messenger")[-2:]
    assert re.fullmatch(
        rf"{TIME} received from Client of Ada \([\d.:]+\), sent {TIME}: hello server", received
    )
    assert re.fullmatch(rf"{TIME} acknowledged to Client of Ada \([\d.:]+\)", answered)


def test_the_lines_of_a_pipe_are_messages(project: Project) -> None:
    project.run("client", "message", "send", stdin="first line\nsecond line\n")
    heard = [line for line in project.logs("messenger") if "received from" in line]
    assert [line.rpartition(": ")[2] for line in heard[-2:]] == ["first line", "second line"]
