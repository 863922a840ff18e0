"""Recorder of one end: makes events of its datagrams, and of its controller's figures.

It reads packets and knows nothing of endpoints: what it says was lost it concludes from the packets
(`ledger`). A transfer is named by the nonce of its HELLO, in which both ends agree; its packets say
only their receiver's connection id, so HELLO and ACCEPT are remembered.

Figures of the congestion controller are looked at when something is sent after an ACK has come, and
at most once a millisecond: what changes in between is not seen.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from udpft.protocol.params import DATA_HEADER_SIZE
from udpft.protocol.wire.packet import COMMON, MalformedPacket, PacketType
from udpft.trace.ledger import Ledger
from udpft.trace.packets import Headers, Run, headers_of, runs_of, told_untrusted
from udpft.trace.qlog import event_of

if TYPE_CHECKING:
    from udpft.protocol.transfer.sender import Sender

_MAX_TRANSFERS = 4_096
"""Transfers that are remembered; a server is told of new ones by anybody."""

_SAMPLE_EVERY_S = 0.001
"""Seconds between two looks at a controller."""

_MAX_BYTES_SHOWN = 600
"""Bytes of a control packet that are written down: all of an ACK, and the fields of a HELLO."""

_DATA_BYTES_SHOWN = 48
"""The same of a DATA packet: its header, and the beginning of the chunk."""

_MAX_WAITING = 256
"""Bursts and packets that wait for their events to be made."""

_MAX_SHOWN = 4_000
"""Packets whose bytes are written down: more than a ladder shows."""


class _Transfer:
    """One transfer, as far as packets tell of it.

    Attributes:
        group: its name in the trace: the nonce in hexadecimal, or the peer of a plain one.
        nonce: of its HELLO; None of a transfer whose HELLO was not seen.
        chunk_size: bytes of a chunk; 0 until it is agreed on.
        ledger: of its DATA packets.
        figures: figures of its controller as they were written last.
        phase: phase of its controller, likewise.
    """

    def __init__(self, group: str, nonce: int | None) -> None:
        self.group = group
        self.nonce = nonce
        self.chunk_size = 0
        self.ledger = Ledger()
        self.figures: dict[str, Any] = {}
        self.phase = ""


class Recorder:
    """See the module's docstring.

    Args:
        write: called with each record, and the seconds since the trace began.
        is_client: whether it is the client's end.
    """

    def __init__(self, write: Callable[[bytes, float], object], *, is_client: bool) -> None:
        self._write = write
        self._is_client = is_client
        self._by_id: OrderedDict[tuple[bool, int], _Transfer] = OrderedDict()
        """Transfers by whether a packet leaves, and the connection id in it."""
        self._by_nonce: OrderedDict[int, _Transfer] = OrderedDict()
        """The same by their nonces."""
        self._senders: Callable[[], Iterable[Sender]] = tuple
        self._waiting: list[Callable[[], None]] = []
        """Calls that make the events of what was noted, in its order."""
        self._sample_at = 0.0
        """Seconds since the trace began: when a controller is looked at next."""
        self._acked = False
        """Whether an ACK has come since a controller was looked at."""
        self._shown = 0
        """Packets whose bytes have been written down."""
        self._plain_count: dict[tuple[str, int], int] = {}
        """Datagrams of each plain transfer at work, by its peer."""

    def watch(self, senders: Callable[[], Iterable[Sender]]) -> None:
        """Look at the sending ends that a function returns, from now on."""
        self._senders = senders

    # ------------------------------------------------------------------------------ packets

    def note(self, at_s: float, data: memoryview, size: int, *, sent: bool) -> None:
        """Note packets in the clear, cut every ``size`` bytes.

        Once no more bytes are written down, only their headers are, and `settle` makes many events
        at once: that costs a third of making each between two bursts.
        """
        if sent and self._acked and at_s >= self._sample_at:
            self._sample(at_s)
        if not sent and data[0] == PacketType.ACK:
            self._acked = True
        showing = self._shown < _MAX_SHOWN
        headers = headers_of(data, size) if data[0] == PacketType.DATA and not showing else None
        if headers:
            self._waiting.append(partial(self._tell_data, at_s, headers, len(data), size, sent))
        else:
            self._waiting.append(partial(self._tell, at_s, bytes(data), size, sent))
        if showing or len(self._waiting) >= _MAX_WAITING:
            self.settle()

    def settle(self) -> None:
        """Make the events of all that was noted."""
        waiting, self._waiting = self._waiting, []
        for make in waiting:
            make()

    def _tell(self, at_s: float, noted: bytes, size: int, sent: bool) -> None:
        """Make the events of packets of any kind."""
        data = memoryview(noted)
        if headers := headers_of(data, size):
            shown = self._bytes_of(data, size)
            self._tell_data(at_s, headers, len(data), size, sent, shown)
            return
        for at in range(0, len(data), size):
            datagram = data[at : at + size]
            length = len(datagram)
            if datagram[0] != PacketType.DATA:
                self._note_control(at_s, datagram, sent=sent)
            elif headers := headers_of(datagram, length):
                shown = self._bytes_of(datagram, length)
                self._tell_data(at_s, headers, length, length, sent, shown)
            else:
                self._drop(at_s, datagram, sent=sent)

    def _tell_data(
        self, at_s: float, headers: Headers, length: int, size: int, sent: bool, shown: str = ""
    ) -> None:
        """Make the event of a burst: ``length`` bytes, cut every ``size``."""
        runs = runs_of(headers.numbers)
        transfer = self._transfer_of(headers.commons, sent=sent)
        ledger = transfer.ledger
        lost = [] if sent else ledger.note_received(runs)
        if sent:
            ledger.note_sent(runs)
        asks, count = headers.ack_requests, len(headers.numbers) // 8
        self._event(
            at_s,
            "transport:packet_sent" if sent else "transport:packet_received",
            transfer,
            f'{{"header":{{"packet_type":"DATA","packet_number":{runs[0].packet}}},'
            f'"count":{count},"packets":{_packets(runs)},"chunks":{_chunks(runs)},'
            f'"ack_requests":{asks},"raw":{{"length":{length},"datagram_size":{size}{shown}}}}}',
        )
        self._lose(at_s, transfer, lost)

    def _note_control(self, at_s: float, datagram: memoryview, *, sent: bool) -> None:
        known = self._transfer_of(datagram, sent=sent) if len(datagram) >= 8 else None
        try:
            told = told_untrusted(datagram, known.nonce if known else None)
        except MalformedPacket as why:
            self._drop(at_s, datagram, sent=sent, why=str(why))
            return
        transfer = known
        if told.nonce is not None:
            transfer = self._named(told.nonce)
            if told.own_id is not None:  # it is what packets the other way will say
                self._remember((not sent, told.own_id), transfer)
                transfer.chunk_size = told.chunk_size or transfer.chunk_size
            if told.kind != "HELLO":
                identity = COMMON.unpack_from(datagram)[3]
                self._remember((sent, identity), transfer)
        assert transfer
        data: dict[str, Any] = {"header": {"packet_type": told.kind}, "fields": told.fields}
        if told.acked:
            data["acked"] = [[first, stop - 1] for first, stop in told.acked]
        data["id"] = bytes(datagram[8:16]).hex()
        body = json.dumps(data, separators=(",", ":"))[:-1]
        shown = self._bytes_of(datagram, len(datagram))
        body += f',"raw":{{"length":{len(datagram)}{shown}}}}}'
        name = "transport:packet_sent" if sent else "transport:packet_received"
        self._event(at_s, name, transfer, body)
        if told.acked and not sent:
            self._lose(at_s, transfer, transfer.ledger.note_ack(told.acked))
        elif told.kind in ("FIN_ACK", "ERROR"):
            self._lose(at_s, transfer, transfer.ledger.close())

    def _drop(self, at_s: float, data: memoryview, *, sent: bool, why: str = "too short") -> None:
        """Note what is no packet, or damaged, or of a transfer that is not known here."""
        body = {"trigger": why, "raw": {"length": len(data), "data": bytes(data[:32]).hex()}}
        name = "udpft:datagram_sent" if sent else "transport:packet_dropped"
        self._write(event_of(at_s, name, "", json.dumps(body, separators=(",", ":"))), at_s)

    def _lose(self, at_s: float, transfer: _Transfer, lost: list[Run]) -> None:
        if not lost:
            return
        chunks = f',"chunks":{_chunks(lost)}' if transfer.ledger.sends else ""
        self._event(
            at_s,
            "transport:packet_lost",
            transfer,
            f'{{"header":{{"packet_type":"DATA","packet_number":{lost[0].packet}}},'
            f'"count":{sum(run.length for run in lost)},"packets":{_packets(lost)}{chunks},'
            f'"trigger":"reordering_threshold"}}',
        )

    def note_plain(
        self, at_s: float, data: memoryview, peer: tuple[str, int], *, sent: bool
    ) -> None:
        """Note a datagram of a plain transfer: a request, or a part of a file."""
        self.settle()
        if sent is self._is_client:
            self._plain_count[peer] = 0
            if len(self._plain_count) > _MAX_TRANSFERS:
                del self._plain_count[next(iter(self._plain_count))]
        number = self._plain_count.get(peer, 0)
        kind = "PLAIN_REQUEST" if sent is self._is_client else "PLAIN_CHUNK"
        if kind == "PLAIN_CHUNK":
            self._plain_count[peer] = number + 1
        header: dict[str, Any] = {"packet_type": kind}
        body: dict[str, Any] = {"header": header, "raw": {"length": len(data)}}
        if kind == "PLAIN_REQUEST":
            body["fields"] = {"name": bytes(data[:1000]).decode(errors="replace").rstrip()}
        else:
            header["packet_number"] = number
        if self._shown < _MAX_SHOWN:
            self._shown += 1
            body["raw"]["data"] = bytes(data[:_DATA_BYTES_SHOWN]).hex()
        name = "transport:packet_sent" if sent else "transport:packet_received"
        group = f"plain {peer[0]} {peer[1]}"
        text = json.dumps(body, separators=(",", ":"))
        self._write(event_of(at_s, name, group, text), at_s)

    # --------------------------------------------------------------------------- transfers

    def _transfer_of(self, data: memoryview | bytes, *, sent: bool) -> _Transfer:
        """The transfer that a packet is of, by the connection id in it."""
        identity = int.from_bytes(data[4:8], "little")
        known = self._by_id.get((sent, identity))
        if known is None:
            known = _Transfer(f"unknown {identity:08x}", None)
            if data[0] == PacketType.DATA:
                self._remember((sent, identity), known)
        return known

    def _named(self, nonce: int) -> _Transfer:
        known = self._by_nonce.get(nonce)
        if known is None:
            known = self._by_nonce[nonce] = _Transfer(f"{nonce:016x}", nonce)
            if len(self._by_nonce) > _MAX_TRANSFERS:
                self._by_nonce.popitem(last=False)
        return known

    def _remember(self, key: tuple[bool, int], transfer: _Transfer) -> None:
        self._by_id[key] = transfer
        if len(self._by_id) > 2 * _MAX_TRANSFERS:
            self._by_id.popitem(last=False)

    # ----------------------------------------------------------------------------- figures

    def _sample(self, at_s: float) -> None:
        """Look at the controllers."""
        self._acked = False
        self._sample_at = at_s + _SAMPLE_EVERY_S
        for sender in self._senders():
            congestion, rtt = sender.congestion, sender.rtt
            figures = {
                "smoothed_rtt": round(rtt.smoothed_rtt_s * 1e3, 3),
                "min_rtt": round(rtt.min_rtt_s * 1e3, 3),
                "latest_rtt": round(rtt.latest_s * 1e3, 3),
                "rtt_variance": round(rtt.variation_s * 1e3, 3),
            }
            pace, phase = congestion.pacing_rate, congestion.phase.name.lower()
            self._waiting.append(
                partial(
                    self._tell_figures,
                    *(at_s, sender.ids.nonce, figures, congestion.window, pace, phase),
                )
            )

    def _tell_figures(
        self,
        at_s: float,
        nonce: int,
        figures: dict[str, Any],
        window: int,
        packets_per_s: float,
        phase: str,
    ) -> None:
        """Write what has changed of one controller; its window is in packets."""
        transfer = self._by_nonce.get(nonce)
        if transfer is None:
            return
        ledger, packet_bytes = transfer.ledger, transfer.chunk_size + DATA_HEADER_SIZE
        figures["congestion_window"] = window * packet_bytes
        figures["bytes_in_flight"] = ledger.in_flight * packet_bytes
        if packets_per_s < inf:
            figures["pacing_rate"] = round(8 * packets_per_s * packet_bytes)
        figures |= {"packets_sent": ledger.packets, "packets_lost": ledger.lost}
        before, transfer.figures = transfer.figures, transfer.figures | figures
        changed = {key: value for key, value in figures.items() if before.get(key) != value}
        if changed:
            text = json.dumps(changed, separators=(",", ":"))
            self._event(at_s, "recovery:metrics_updated", transfer, text)
        if phase != transfer.phase:
            text = json.dumps({"old": transfer.phase, "new": phase}, separators=(",", ":"))
            transfer.phase = phase
            self._event(at_s, "recovery:congestion_state_updated", transfer, text)

    # ------------------------------------------------------------------------------ writing

    def _event(self, at_s: float, name: str, transfer: _Transfer, data: str) -> None:
        self._write(event_of(at_s, name, transfer.group, data), at_s)

    def _bytes_of(self, data: memoryview, size: int) -> str:
        """The beginnings of packets in hexadecimal, as JSON; nothing once enough were shown."""
        if self._shown >= _MAX_SHOWN:
            return ""
        count = -(-len(data) // size)
        self._shown += count
        if count == 1:
            most = _DATA_BYTES_SHOWN if data[0] == PacketType.DATA else _MAX_BYTES_SHOWN
            shown = bytes(data[:most]).rstrip(b"\0") or bytes(1)  # padding is not worth its space
            return f',"data":"{shown.hex()}"'
        each = (
            f'"{data[at : at + min(size, _DATA_BYTES_SHOWN)].hex()}"'
            for at in range(0, len(data), size)
        )
        return f',"each":[{",".join(each)}]'


def _packets(runs: list[Run]) -> str:
    return "[" + ",".join(f"[{run.packet},{run.packet + run.length - 1}]" for run in runs) + "]"


def _chunks(runs: list[Run]) -> str:
    return "[" + ",".join(f"[{run.chunk},{run.chunk + run.length - 1}]" for run in runs) + "]"
