"""``udpft add``: two programs, two names, two integers, one sum."""

from __future__ import annotations

import random
from math import inf

import click

from udpft.cli.commands.small_mode_options import (
    client_options,
    log_ignored,
    new_id,
    server_options,
    terminal_fd,
)
from udpft.cli.help_screen import Group
from udpft.cli.output.console import Console, say_now
from udpft.errors import PortClosed, TimedOut, UsageError
from udpft.net.address import Address, parse_server
from udpft.net.clock import clock
from udpft.small_modes.addition import (
    DEFAULT_PORT,
    HIGHEST,
    LOWEST,
    Adder,
    Addition,
    Sum,
    Term,
    in_range,
)
from udpft.small_modes.conversation import Conversation, Datagram, ask
from udpft.small_modes.exchange import check_name
from udpft.units import format_seconds

HINT = "start one there with `udpft add serve`; it listens on 127.0.0.1 only, unless given --host"


@click.group("add", cls=Group, short_help="Add two integers over the network.")
def command() -> None:
    """Add two integers over the network: the smallest protocol here.

    The client sends its name and an integer, the server answers with its own, and both print the
    sum. An integer outside 1 to 100 stops the server.

    \b
    Example: udpft add serve --number 42
             udpft add send 17
    """


@command.command("serve", short_help="Add a number to any client's.")
@server_options(DEFAULT_PORT)
@click.option(
    "--number",
    type=click.IntRange(LOWEST, HIGHEST),
    help=f"The server's integer, {LOWEST} to {HIGHEST}; one is drawn unless given.",
)
@click.pass_obj
def serve(console: Console, host: str, port: int, name: str, number: int | None) -> None:
    """Add a number to any client's, until a client sends one outside 1 to 100.

    Example: udpft add serve --number 42
    """
    name = check_name(name)
    number = random.randint(LOWEST, HIGHEST) if number is None else number
    adder = Adder(name, number)
    with Conversation.listen(Address(host, port)) as conversation:
        console.log(f"{name} adds {number} on {conversation.address}")
        while not adder.stopped_by:
            arrived = conversation.wait(inf)
            if isinstance(arrived, Datagram):
                _take_in(adder, arrived, console)
            while added := adder.poll_event():
                (client, own), source = added
                say_now(str(Sum(_named(client, Address.of(source)), own)))
            while outgoing := adder.poll_transmit():
                conversation.send(*outgoing)
    number, who, _ = adder.stopped_by
    say_now(f"{number} ({who or 'no name'}) is outside {LOWEST} to {HIGHEST}: {name} stops")


def _take_in(adder: Adder, arrived: Datagram, console: Console) -> None:
    before = adder.ignored
    adder.handle_datagram(arrived.data, arrived.source)
    if adder.ignored > before:
        log_ignored(console, adder.ignored, arrived)


def _named(term: Term, address: Address) -> Term:
    """The term, by its address if it came without a name."""
    return term if term.name else term._replace(name=str(address))


@command.command(
    "send",
    short_help="Send a number to be added.",
    # So that -5 is a number, not an option that nobody knows.
    context_settings={"ignore_unknown_options": True},
)
@click.argument("number", metavar="[N]", type=int, required=False)
@client_options(DEFAULT_PORT, "UDPFT_ADD_SERVER")
@click.pass_obj
def send(console: Console, number: int | None, server: str, name: str, timeout: float) -> None:
    """Send the integer N to be added to the server's; on a terminal, N is asked for.

    Example: udpft add send 17
    """
    address = parse_server(server, DEFAULT_PORT)
    name = check_name(name)
    if number is None:
        number = _ask_for_a_number()
    with Conversation.connect(address) as conversation:
        own = Term(number, name, new_id())
        addition = Addition(own, now=clock(), timeout_s=timeout)
        if not in_range(number):
            _stop_the_server(conversation, addition, address, own)
            return
        ask(conversation, addition, address, hint=HINT)
    assert addition.sum is not None
    own, theirs = addition.sum
    say_now(str(Sum(own, _named(theirs, address))))
    times = "" if addition.asked == 1 else f", asked {addition.asked} times"
    console.say(f"answered after {format_seconds(addition.elapsed_s)}{times}", level=1)


def _ask_for_a_number() -> int:
    if terminal_fd() is None:
        raise UsageError(
            "no number to send",
            hint="pass one, `udpft add send 17`, or run it on a terminal (docker run -it)",
        )
    number: int = click.prompt(f"An integer from {LOWEST} to {HIGHEST}", type=int, err=True)
    return number


def _stop_the_server(
    conversation: Conversation, addition: Addition, server: Address, own: Term
) -> None:
    """Send what no server answers, until its port is closed or the time is over."""
    say_now(f"{own.number} ({own.name}) is outside {LOWEST} to {HIGHEST}: it stops the server")
    try:
        ask(conversation, addition, server, hint=HINT)
    except PortClosed:
        if addition.asked == 1:
            raise  # it was closed when the first datagram came: nobody was there to be stopped
        say_now(f"{server} is closed: the server has stopped")
    except TimedOut:
        say_now(f"no answer from {server}, as it should be")
