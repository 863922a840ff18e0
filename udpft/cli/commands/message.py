"""``udpft message``: texts back and forth, each with its sender's own time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import count as counting
from math import inf
from pathlib import Path

import click

from udpft.cli.commands.small_mode_options import (
    Prompt,
    client_options,
    input_fd,
    log_ignored,
    new_id,
    server_options,
    terminal_fd,
)
from udpft.cli.help_screen import Group
from udpft.cli.options import SECONDS, Function
from udpft.cli.output.console import Console
from udpft.cli.output.transcript import TimeFormat, Transcript, TranscriptEntry
from udpft.errors import UsageError
from udpft.net.address import Address, parse_server
from udpft.net.clock import clock
from udpft.small_modes.conversation import Conversation, Datagram, Line, Signal, ask
from udpft.small_modes.exchange import check_name
from udpft.small_modes.messages import (
    DEFAULT_PORT,
    Delivery,
    Message,
    Replier,
    Word,
    check_text,
)
from udpft.units import format_seconds

HINT = "start one there with `udpft message serve`; it listens on 127.0.0.1 only, without --host"


def wall_clock() -> datetime:
    """This machine's time, with its zone."""
    return datetime.now().astimezone()


@click.group("message", cls=Group, short_help="Send texts back and forth, with their times.")
def command() -> None:
    """Send texts back and forth. Both sides print each text with its time.

    \b
    Example: udpft message serve --reply "hello client"
             udpft message send "hello server"
    """


def _transcript_options(function: Function) -> Function:
    function = click.option(
        "--log",
        "log_path",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False, readable=False),
        help="Append the conversation to FILE, as JSON lines.",
    )(function)
    return click.option(
        "--time-format",
        type=click.Choice(["iso", "asctime"]),
        default="iso",
        show_default=True,
        help="ISO 8601 with the zone, or the classic look.",
    )(function)


@command.command("serve", short_help="Show what clients say, and answer.")
@server_options(DEFAULT_PORT)
@click.option("--reply", metavar="TEXT", help="Answer every message with TEXT.")
@_transcript_options
@click.pass_obj
def serve(
    console: Console,
    host: str,
    port: int,
    name: str,
    reply: str | None,
    time_format: TimeFormat,
    log_path: Path | None,
) -> None:
    """Show what clients say, and answer, until interrupted.

    Example: udpft message serve --reply "hello client"

    Answers are TEXT if --reply is given, else what is typed if standard input is a terminal, else
    an acknowledgement.
    """
    name = check_name(name)
    typing_fd = None
    if reply is None:
        typing_fd = terminal_fd()
    else:
        check_text(reply, "the reply")
    replier = Replier(name, reply=reply or "", typed=typing_fd is not None)
    with ExitStack() as stack:
        transcript = stack.enter_context(Transcript(time_format, log_path))
        conversation = stack.enter_context(Conversation.listen(Address(host, port), typing_fd))
        console.log(f"{name} listens on {conversation.address}")
        if typing_fd is not None:
            console.say("type an answer to each message; an empty line acknowledges it")
        _answer_all(console, conversation, replier, transcript, typed=typing_fd is not None)


def _answer_all(
    console: Console,
    conversation: Conversation,
    replier: Replier,
    transcript: Transcript,
    *,
    typed: bool,
) -> None:
    """The server's loop; it ends by a signal."""
    prompt = Prompt()
    while True:
        happened = conversation.wait(replier.next_timeout(), lines=typed)
        if isinstance(happened, Datagram):
            before = replier.ignored
            replier.handle_datagram(happened.data, happened.source, now=clock(), at=wall_clock())
            if replier.ignored > before:
                log_ignored(console, replier.ignored, happened)
        elif isinstance(happened, Line):
            prompt.entered()
            _type(console, replier, happened.text)
        elif happened is Signal.END_OF_INPUT:
            replier.stop_typing(wall_clock())
            typed = False
        replier.handle_timeout(clock(), wall_clock())
        while spoken := replier.poll_event():
            prompt.leave()
            message, sent, peer_name, source = spoken
            transcript.show(
                TranscriptEntry(wall_clock(), sent, message, peer_name, Address.of(source))
            )
        while outgoing := replier.poll_transmit():
            conversation.send(*outgoing)
        if replier.waiting:
            asked, source = replier.waiting
            prompt.show(f"answer {asked.name or Address.of(source)}: ")


def _type(console: Console, replier: Replier, text: str) -> None:
    if not replier.waiting:
        console.say("nobody is waiting for an answer")
        return
    try:
        replier.type_answer(text, wall_clock())
    except UsageError as error:
        console.say(str(error))


@command.command("send", short_help="Say something to a server.")
@click.argument("text", nargs=-1)
@client_options(DEFAULT_PORT, "UDPFT_MESSAGE_SERVER")
@click.option("--every", metavar="SECONDS", type=SECONDS, help="Send TEXT again after so long.")
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(1),
    help="Send TEXT so many times. [default: once, or with --every for ever]",
)
@_transcript_options
@click.pass_obj
def send(
    console: Console,
    text: tuple[str, ...],
    server: str,
    name: str,
    timeout: float,
    every: float | None,
    count: int | None,
    time_format: TimeFormat,
    log_path: Path | None,
) -> None:
    """Say TEXT; without TEXT, each line of standard input, or what is typed at a prompt.

    Example: udpft message send "hello server"

    Every line is a message of its own. The next one is sent when the one before was answered.
    """
    address = parse_server(server, DEFAULT_PORT)
    name = check_name(name)
    if (every or count) and not text:
        raise UsageError("--every and --count repeat TEXT, and there is none")
    given = [check_text(line) for line in " ".join(text).split("\n")] if text else []
    with ExitStack() as stack:
        transcript = stack.enter_context(Transcript(time_format, log_path))
        input_ = None if given else input_fd()
        conversation = stack.enter_context(Conversation.connect(address, input_))
        texts: Iterator[str]
        if given:
            texts = _repeated(given, conversation, every, count or (None if every else 1))
        elif terminal_fd() is not None:
            texts = _typed(conversation, console)
        else:
            texts = _piped(conversation)
        for said in texts:
            at = wall_clock()
            message = Message(Word.SAY, said, name, at, new_id())
            transcript.show(TranscriptEntry(at, True, message, "", address))
            _deliver(console, conversation, message, address, timeout, transcript.show)


def _deliver(
    console: Console,
    conversation: Conversation,
    message: Message,
    server: Address,
    timeout_s: float,
    show: Callable[[TranscriptEntry], None],
) -> None:
    """Send one message until it is answered, and show the answer."""
    delivery = Delivery(message, now=clock(), timeout_s=timeout_s)
    told = False

    def tell_who_types() -> None:
        nonlocal told
        if delivery.waiting_for is not None and not told:
            told = True
            console.say(f"waiting for {delivery.waiting_for or server} to type an answer")

    ask(conversation, delivery, server, hint=HINT, on_reply=tell_who_types)
    answer = delivery.answer
    assert answer is not None
    show(TranscriptEntry(wall_clock(), False, answer, answer.name, server, delivery.round_trip_s))
    if delivery.round_trip_s is None:
        took = format_seconds(delivery.elapsed_s)
        console.say(f"answered after {took}, asked {delivery.asked} times", level=1)


def _repeated(
    texts: list[str], conversation: Conversation, every_s: float | None, count: int | None
) -> Iterator[str]:
    """The texts ``count`` times, or for ever, with ``every_s`` seconds from start to start."""
    began = clock()
    for turn in counting():
        if turn == count:
            return
        while every_s and conversation.wait(began + turn * every_s) is not Signal.TIME_OUT:
            pass  # a late answer, which nobody waits for
        yield from texts


def _piped(conversation: Conversation) -> Iterator[str]:
    """The lines of a pipe or a file, without the blank ones."""
    empty = True
    for number, line in enumerate(_lines(conversation), 1):
        if line.strip():
            empty = False
            yield check_text(line, f"line {number} of standard input")
    if empty:
        raise UsageError(
            "nothing to send: no TEXT, no terminal, and standard input is empty",
            hint='pass TEXT, `udpft message send "hello"`, or run it with -it for a prompt',
        )


def _typed(conversation: Conversation, console: Console) -> Iterator[str]:
    """Read a text typed at a prompt; ask again after one that cannot be sent."""
    prompt = Prompt()
    prompt.show("> ")
    for line in _lines(conversation):
        prompt.entered()
        try:
            if line.strip():
                yield check_text(line)
        except UsageError as error:
            console.say(str(error))
        prompt.show("> ")
    prompt.leave()


def _lines(conversation: Conversation) -> Iterator[str]:
    """Lines of input until its end. What arrives meanwhile is a late repeat, and is dropped."""
    while True:
        happened = conversation.wait(inf, lines=True)
        if isinstance(happened, Line):
            yield happened.text
        elif happened is Signal.END_OF_INPUT:
            return
