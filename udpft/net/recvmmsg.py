"""Batched receiving of single datagrams by one system call: recvmmsg(2), Linux 2.6.33.

Where the network joins nothing, a call for each datagram is most of what receiving costs. Here one
call lays datagrams of one size back to back into a buffer, as the kernel does where it joins them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from udpft.protocol.params import MAX_BURST_PACKETS

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)

# struct iovec: base pointer, length size_t
_IOVEC = struct.Struct("@PN")
# struct mmsghdr: struct msghdr (name pointer, its length u32, iovec pointer, number of iovecs
# size_t, control pointer, its length size_t, flags int), bytes received u32
_MESSAGE = struct.Struct("@PIPNPNi0PI0P")
_FLAGS_AT = struct.calcsize("@PIPNPN")
_LENGTH_AT = struct.calcsize("@PIPNPNi0P")
_WORD = 4


class BatchReceiver:
    """Receiver of datagrams of one size from a connected socket, a batch at a time.

    Args:
        fd: the socket, non-blocking; not closed.
        buffer: for the datagrams, each right behind the one before.
        size: bytes of a datagram. A larger one is cut; a shorter one leaves a gap behind it.

    Attributes:
        size: as given.
    """

    def __init__(self, fd: int, buffer: bytearray, size: int) -> None:
        self._fd = fd
        self.size = size
        count = min(MAX_BURST_PACKETS, len(buffer) // size)
        self._count = count
        # Keep what the kernel's pointers lead to: the buffer, the iovecs, the messages.
        self._anchor = ctypes.c_char.from_buffer(buffer)
        base = ctypes.addressof(self._anchor)
        self._iovecs = ctypes.create_string_buffer(
            b"".join(_IOVEC.pack(base + i * size, size) for i in range(count))
        )
        vectors = ctypes.addressof(self._iovecs)
        messages = bytearray().join(
            _MESSAGE.pack(0, 0, vectors + i * _IOVEC.size, 1, 0, 0, 0, 0) for i in range(count)
        )
        self._messages = (ctypes.c_char * len(messages)).from_buffer(messages)
        words = memoryview(messages).cast("I")
        stride = _MESSAGE.size // _WORD
        # The flags and the length that the kernel writes into each message
        self._flags = words[_FLAGS_AT // _WORD :: stride]
        self._lengths = words[_LENGTH_AT // _WORD :: stride]
        # The same where all datagrams are whole and of this size: the usual case
        self._full = memoryview(size.to_bytes(_WORD, "little") * count)
        self._no_flags = memoryview(bytes(_WORD * count))

    def receive(self) -> list[tuple[int, int]] | None:
        """Receive the datagrams that wait in the socket, up to a buffer full.

        Returns:
            The stretches without a gap, as (place in the buffer, length): datagrams of ``size``,
            the last of them perhaps shorter. None where one was larger, so that none is good.

        Raises:
            BlockingIOError: no datagram waits.
            OSError: see recvmmsg(2); of earlier datagrams, perhaps.
        """
        got = _recvmmsg(self._fd, self._messages, self._count, socket.MSG_DONTWAIT, None)
        if got < 0:
            code = ctypes.get_errno()
            if code == errno.EINTR:
                raise BlockingIOError(code, os.strerror(code))
            raise OSError(code, os.strerror(code))
        n_bytes = _WORD * got
        if self._flags[:got].tobytes() != self._no_flags[:n_bytes]:
            return None
        lengths = self._lengths[:got]
        if lengths.tobytes() == self._full[:n_bytes]:
            return [(0, got * self.size)]
        return self._stretches(lengths.tolist())

    def _stretches(self, lengths: list[int]) -> list[tuple[int, int]]:
        stretches, start = [], 0
        for at, length in enumerate(lengths):
            if length < self.size or at == len(lengths) - 1:
                stretches.append((start * self.size, (at - start) * self.size + length))
                start = at + 1
        return stretches
