"""``udpft doctor``: what limits transfers here, and the lines that mend it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

import click

from udpft.cli.help_screen import Command
from udpft.cli.options import connect_timeout_option, json_option, key_file_option
from udpft.cli.output.console import Console, escape, print_json, print_line
from udpft.cli.output.exit_status import verdict
from udpft.client.client import Client
from udpft.diagnosis.doctor import (
    Finding,
    State,
    device_to,
    examine_machine,
    examine_path,
    judge_key,
)
from udpft.net.kernel import Kernel

_WIDTH = 80
_TOPIC_WIDTH = 16
_COLORS = {State.OK: "green", State.BETTER: "yellow", State.BROKEN: "red"}

SYSTEM = Kernel()
"""The kernel that is examined."""


@click.command("doctor", cls=Command, short_help="Find what slows transfers down.")
@click.option(
    "-s",
    "--server",
    metavar="HOST[:PORT]",
    envvar="UDPFT_SERVER",
    show_envvar=True,
    help="Look at the path to it, too.",
)
@connect_timeout_option
@key_file_option
@json_option
@click.pass_obj
def command(
    console: Console,
    /,
    server: str | None,
    key_file: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find what slows transfers down: on this machine, and on the path to a server.

    Example: udpft doctor -s files.lan

    What could be better comes with the line that mends it. Most of these need root, and in a
    container they are for its host.
    """
    states: list[State] = []
    with verdict(as_json=as_json):
        for finding in _examine(server, key_file, options):
            states.append(finding.state)
            if as_json:
                print_json("finding", **_fields(finding))
            else:
                for line in lines_of(finding, colored=console.colors(sys.stdout)):
                    print_line(line)
    if not as_json:
        worse = len(states) - states.count(State.OK)
        console.say(f"{worse} of {len(states)} could be better" if worse else "all is well")


def _examine(server: str | None, key_file: str | None, options: Any) -> Iterator[Finding]:
    if server is None:
        if key_file is not None:
            from udpft.keys import client_channel

            client_channel(key_file)  # or say what is wrong with it
        yield from examine_machine(SYSTEM)
        yield judge_key(key_file)
        return
    with Client(server, key_file=key_file, **options) as client:
        yield from examine_machine(SYSTEM, device_to(client))
        yield judge_key(key_file)
        yield from examine_path(client, SYSTEM)


def _fields(finding: Finding) -> dict[str, Any]:
    return {
        "topic": finding.topic,
        "state": finding.state,
        "message": finding.message,
        "remedies": finding.remedies,
        **finding.facts,
    }


def lines_of(finding: Finding, *, colored: bool) -> Iterator[str]:
    """A finding for people: what and how it is, and the lines that mend it, to be copied."""
    text = wrap(
        f"{finding.state}: {escape(finding.message)}", _WIDTH - _TOPIC_WIDTH, break_on_hyphens=False
    )
    if colored:
        # After wrapping, which would count the colour's characters.
        state = click.style(finding.state, fg=_COLORS[finding.state])
        text[0] = text[0].replace(finding.state, state, 1)
    yield f"{finding.topic:<{_TOPIC_WIDTH}}{text[0]}"
    yield from (" " * _TOPIC_WIDTH + line for line in text[1:])
    yield from (f"    {escape(remedy)}" for remedy in finding.remedies)
