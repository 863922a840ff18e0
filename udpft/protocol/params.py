"""Constants that protocol modules share or the wire shows, each with its unit and rationale.

Sources: RFC 768 (UDP), RFC 8085 (UDP usage guidelines), RFC 8899 (datagram path MTU discovery),
RFC 9000 (QUIC), RFC 9002 (QUIC loss detection), and measurements, named where they decided.
"""

from __future__ import annotations

from typing import Final

# ---------------------------------------------------------------------------- chunks, datagrams

CHUNK_SIZE: Final = 2048
"""Bytes in a chunk, in plain always and in reliable by default. A shorter one ends the file."""

DATA_HEADER_SIZE: Final = 24
"""Bytes before the payload of a DATA packet."""

CHUNK_ALIGNMENT: Final = 8
"""Chunk sizes are multiples of this, so that a header field is one stride of 64-bit words."""

MAX_UDP_PAYLOAD: Final = 65_507
"""The largest UDP payload over IPv4, in bytes: 65,535 less IP's 20 and UDP's 8 (RFC 768)."""

MAX_CHUNK_SIZE: Final = 16_344
"""The largest chunk, in bytes: four of them with their headers fill one send."""

MIN_DATAGRAM_SIZE: Final = 1_200
"""What every path is assumed to carry, in bytes of UDP payload (RFC 9000, 14)."""

MIN_CHUNK_SIZE: Final = 64
"""The smallest chunk that may be asked for, in bytes."""

MAX_CHUNKS: Final = 2**31
"""Chunks in a file, at most: 3 TB at 1,448 bytes, and as many packet numbers left for repeats."""

MAX_PACKETS: Final = 2**32 - 1
"""Packet numbers in a transfer, at most: one past the last must fit in an ACK's u32."""

PROBE_SIZES: Final = (
    MAX_CHUNK_SIZE + DATA_HEADER_SIZE,  # loopback, MTU 65,536
    8_968,  # jumbo frames, MTU 9,000: 8,972 over IPv4, rounded down to a whole number of words
    8_944,  # the same over IPv6
    CHUNK_SIZE + DATA_HEADER_SIZE,  # the default chunk, whole
    1_472,  # Ethernet, MTU 1,500, over IPv4
    1_448,  # the same over IPv6, rounded down
    1_392,  # inside the usual tunnels, MTU 1,420
    MIN_DATAGRAM_SIZE,
)
"""Sizes of UDP payload that the handshake tries, largest first. Its answer is the path's MTU."""

MAX_SEND_BYTES: Final = 65_472
"""Bytes in one send with UDP segmentation. With the headers of UDP, IPv6 and Ethernet a burst must
stay within 65,536, or Linux takes it apart again before the device (netif_set_gso_max_size)."""

MAX_SEND_PACKETS: Final = 64
"""Packets in one send: UDP_MAX_SEGMENTS of Linux before 6.9 (128 since)."""

SENDS_A_BURST: Final = 6
"""Sends that make one burst on a fast path: what Python costs is per burst, and a burst of
384 KiB still fits a core's second-level cache, so that it is hashed where it was read."""

MAX_BURST_BYTES: Final = SENDS_A_BURST * MAX_SEND_BYTES
"""Bytes in one burst, at most."""

MAX_BURST_PACKETS: Final = SENDS_A_BURST * MAX_SEND_PACKETS
"""Packets in one burst, at most."""

MAX_BATCH_BYTES: Final = SENDS_A_BURST * 65_536
"""Bytes received before they are looked at: a whole burst, as the kernel has joined its sends."""

assert CHUNK_SIZE % CHUNK_ALIGNMENT == 0
assert MAX_PACKETS >= 2 * MAX_CHUNKS - 1
assert DATA_HEADER_SIZE % CHUNK_ALIGNMENT == 0
assert MIN_CHUNK_SIZE % CHUNK_ALIGNMENT == 0
assert MAX_SEND_BYTES <= MAX_UDP_PAYLOAD
assert 4 * (MAX_CHUNK_SIZE + DATA_HEADER_SIZE) <= MAX_SEND_BYTES
assert list(PROBE_SIZES) == sorted(PROBE_SIZES, reverse=True)
assert all(size % CHUNK_ALIGNMENT == 0 for size in PROBE_SIZES)

# ------------------------------------------------------------------------------------ handshake

VERSION: Final = 1
"""Version of the reliable protocol."""

COOKIE_EPOCH_S: Final = 10.0
"""Seconds a cookie's key period lasts; a cookie is good in its own and the next one."""

RETRY_MAX_SIZE: Final = 64
"""Bytes in the answer to an unvalidated HELLO, at most: a twentieth of what was received."""

WILDCARDS: Final = "*?["
"""What makes a name a pattern, unless it is a file's all the same."""

MAX_NAME_BYTES: Final = 896
"""Bytes in a file's name as the network carries it: fits the smallest HELLO, beside its fields."""

assert RETRY_MAX_SIZE < MIN_DATAGRAM_SIZE
assert MAX_NAME_BYTES + 237 <= MIN_DATAGRAM_SIZE

# ------------------------------------------------------------------------------------------ keys

SEAL_OVERHEAD: Final = 32
"""Bytes that a key adds to every packet: 8 of header, 8 of counter, 16 of tag."""

KEYED_HELLO_OVERHEAD: Final = 56
"""Bytes that a key adds to a HELLO: 8 of header, 32 of ephemeral key, 16 of tag."""

KEYED_ANSWER_OVERHEAD: Final = 64
"""Bytes that a key adds to what answers a HELLO: as to the HELLO, and 8 that name it."""

KEYED_RETRY_OVERHEAD: Final = 44
"""Bytes that a key adds to a RETRY: 8 of header, 8 that name the HELLO, 12 of nonce, 16 of tag."""

REKEY_PACKETS: Final = 2**24
"""Packets under one derived key. AES-GCM is good for 2**25 of the largest (RFC 9001, B.1)."""

assert SEAL_OVERHEAD % CHUNK_ALIGNMENT == 0
assert KEYED_HELLO_OVERHEAD >= SEAL_OVERHEAD  # what the HELLO tried is enough for DATA
assert MAX_NAME_BYTES + 237 + KEYED_HELLO_OVERHEAD <= MIN_DATAGRAM_SIZE
assert RETRY_MAX_SIZE + KEYED_RETRY_OVERHEAD < MIN_DATAGRAM_SIZE

# ------------------------------------------------------------------- acknowledgements, recovery

MAX_ACK_DELAY_S: Final = 0.005
"""Seconds a receiver may hold an acknowledgement back. RFC 9000 has 25 ms; ours are cheap."""

ACK_EVERY_BYTES: Final = 4 * MAX_BURST_BYTES
"""Bytes after which an acknowledgement is due at once, where none was asked for before: every
fourth burst on a fast path. An ACK costs both ends about half of what a burst does."""

ACK_EVERY_ROOM: Final = 1 / 2
"""The same as a share of the receiver's room: one that waits until the sender's window is full, and
so asks, would see it stand still while the ACK is under way."""

MAX_ACK_RANGES: Final = 64
"""Ranges of packet numbers in one ACK, at most: 576 bytes with its header."""

ACK_REPEATS: Final = 8
"""Acknowledgements that repeat a range, at least: at 50 % loss 1 in 256 is never heard."""

INITIAL_RTT_S: Final = 0.1
"""Seconds taken for the round trip before the first sample. RFC 9002 has 333 ms; a probe too early
costs two packets, and one too late costs a client that lost its ACCEPT a third of a second."""

GRANULARITY_S: Final = 0.001
"""Seconds below which a timer means nothing (RFC 9002, 6.1.2)."""

PACKET_THRESHOLD: Final = 3
"""Packets acknowledged after it that make a packet lost (RFC 9002, 6.1.1)."""

TIME_THRESHOLD: Final = 9 / 8
"""Round trips after which an earlier packet is lost (RFC 9002, 6.1.2)."""

MAX_PTO_S: Final = 1.0
"""Seconds between probes, at most, while a transfer runs: a path that comes back is found soon."""

FIN_PATIENCE_S: Final = 12.0
"""Seconds for which the end is announced to a peer that says nothing more. It may be done, and all
of its FIN_ACKs lost; or behind a path that is dead for ten seconds and comes back."""

CLOSING_COPIES: Final = 3
"""Copies of a transfer's last word, FIN_ACK or ERROR: who says it does not stay to repeat it."""

# ------------------------------------------------------------------------- congestion, flow control

INITIAL_WINDOW_PACKETS: Final = 10
"""Packets in flight before anything is known (RFC 6928, RFC 9002, 7.2)."""

MAX_BURST_INTERVAL_S: Final = 0.001
"""Seconds' worth of the pacing rate in one burst, at most: larger ones overflow shallow queues."""

INITIAL_RECEIVE_ROOM: Final = 65_536
"""Bytes taken for the receiver's room until it has spoken."""

# ----------------------------------------------------------------------------- the server's limits

MAX_SESSIONS: Final = 1_024
"""Transfers at once, by default. Each holds one open file and some tens of KiB."""

MAX_MEASURED_BYTES: Final = 1 << 36
"""Bytes of no file that may be asked for, or brought, to measure with: a minute at 10 Gbit/s."""

# ------------------------------------------------------------------------------------ deadlines

CONNECT_TIMEOUT_S: Final = 5.0
"""Seconds to wait for the first answer."""

IDLE_TIMEOUT_S: Final = 30.0
"""Seconds without progress after which a transfer has failed."""

STOOD_STILL_S: Final = 1.0
"""Seconds after its time that a deadline is looked at only by an end that itself stood still: its
process was stopped, or its machine suspended. Patience then begins anew."""

QUIET_S: Final = 1.0
"""Seconds of silence, and two round trips, after which a client asks whether the server still knows
of its transfer: a living one that waits for an answer says something each `MAX_PTO_S`."""

QUESTION_INTERVAL_S: Final = 0.5
"""Seconds between such questions. The first of them that reaches a server is answered."""

READING_BYTES_PER_S: Final = 20_000_000
"""How fast a server reads, at least, what a client has already, and need not say anything: a slow
disk. A client's patience is longer by so much."""

PLAIN_RATE_BYTES_PER_S: Final = 10_000_000
"""Default rate of a plain transfer. A receive buffer of 208 KiB holds 48 chunks, or 10 ms of it:
about as long as a busy machine keeps a simple client from running."""
