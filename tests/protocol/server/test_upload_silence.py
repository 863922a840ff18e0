"""Patience of the server's end of an upload: what renews it while what is held is hashed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import pytest

from udpft.errors import TimedOut
from udpft.protocol.contract import Batch, Completed, Failed
from udpft.protocol.params import MIN_DATAGRAM_SIZE
from udpft.protocol.server.session import Session
from udpft.protocol.server.upload import Held, ServerUpload, ServerUploadState
from udpft.protocol.transfer.work_budget import WorkBudget
from udpft.protocol.wire.error import ErrorCode, decode_error_untrusted
from udpft.protocol.wire.hello import encode_hello
from udpft.protocol.wire.packet import PacketType, decode_untrusted
from udpft.testing.network import Shape, SimNet, random_bytes

CONTENT = random_bytes(300_000)
SLOW = Shape(rate_bytes_per_s=200_000)
BEGAN = 0.5


@pytest.fixture
def net() -> SimNet:
    net = SimNet({}, seed=1, up=SLOW)
    net.put("file", CONTENT)
    net.run_to(BEGAN)
    return net


@pytest.fixture
def session(net: SimNet) -> Session:
    [session] = net.listener._sessions.values()
    return session


def hashing(session: Session, runs: Iterator[tuple[int, bytes]] | None = None) -> ServerUpload:
    """The upload, which has begun to hash what is held just now, and never ends."""
    upload = session.end
    assert isinstance(upload, ServerUpload)
    patience_s = session.terms.idle_timeout_s
    work = WorkBudget().share_of(None)
    upload._held = Held(runs or repeat((0, b"")), work, BEGAN + patience_s)
    return upload


def ends_at(upload: ServerUpload, moment: float) -> bool:
    """Whether it has ended by a moment, at which it is looked at for the first time since."""
    while upload.poll_transmit(moment):
        continue
    return upload.state is ServerUploadState.ENDED


def test_a_client_that_says_nothing_is_given_up_at_the_idle_timeout(
    net: SimNet, session: Session
) -> None:
    upload, patience_s = hashing(session), session.terms.idle_timeout_s
    assert not ends_at(upload, BEGAN + patience_s - 0.001)
    upload.poll_transmit(BEGAN + patience_s)
    event = upload.poll_event()
    assert isinstance(event, Failed)
    assert isinstance(event.error, TimedOut)
    assert "client fell silent" in str(event.error)
    packets = []
    while transmit := upload.poll_transmit(BEGAN + patience_s):
        packets.append(
            decode_untrusted(memoryview(bytes(transmit.data)), session.terms.hello.nonce)
        )
    codes = [decode_error_untrusted(one).code for one in packets if one.type is PacketType.ERROR]
    assert codes
    assert ErrorCode.DIGEST_MISMATCH not in codes
    assert net.stored == {}


def test_hashing_alone_renews_nothing(session: Session) -> None:
    upload, patience_s = hashing(session), session.terms.idle_timeout_s
    for tenth in range(1, 10):
        upload._held.work._budget.refill()  # type: ignore[union-attr]
        assert not ends_at(upload, BEGAN + tenth * patience_s / 10)
    assert ends_at(upload, BEGAN + patience_s)


def test_what_the_client_says_renews_it(net: SimNet, session: Session) -> None:
    upload, patience_s = hashing(session), session.terms.idle_timeout_s
    question = encode_hello(session.terms.hello, MIN_DATAGRAM_SIZE, session.connection_id)
    upload.handle_datagrams(Batch.of(question), BEGAN + 5)
    assert not ends_at(upload, BEGAN + 5 + patience_s - 0.001)
    assert ends_at(upload, BEGAN + 5 + patience_s)
    net.run_to(BEGAN + 0.1)  # and so do chunks of its own accord
    assert upload._receiver.heard_at >= BEGAN


@pytest.mark.parametrize("change", [{"nonce": 99}, {"connection_id": 99}])
def test_what_somebody_else_says_renews_nothing(session: Session, change: dict[str, int]) -> None:
    upload, patience_s = hashing(session), session.terms.idle_timeout_s
    hello = session.terms.hello
    if "nonce" in change:
        hello = hello._replace(**change)  # type: ignore[arg-type]
    connection_id = change.get("connection_id", session.connection_id)
    forged = encode_hello(hello, MIN_DATAGRAM_SIZE, connection_id)
    upload.handle_datagrams(Batch.of(forged), BEGAN + 5)
    assert ends_at(upload, BEGAN + patience_s)


def test_once_all_is_hashed_the_limit_is_the_receivers(net: SimNet, session: Session) -> None:
    upload = hashing(session, iter(()))
    net.run()
    assert upload.state is ServerUploadState.CONFIRMED
    assert upload._held is None
    [client] = net.clients.values() if isinstance(net.clients, dict) else net.clients
    assert isinstance(client.outcome, Completed)
