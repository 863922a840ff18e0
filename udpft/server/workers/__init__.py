"""Workers: processes that serve one port together, and look like one server

Theory of operation
-------------------
The kernel hands each datagram of a port that several sockets are bound to (SO_REUSEPORT) to one of
them, by a hash of both addresses and ports. All sockets are made by one process, the supervisor,
which never reads them and keeps them open as long as it lives. So their number and their order
never change, and what one client's socket sends always comes to the same worker, or to the one that
has taken its place: no datagram needs to be passed on. What comes from a new port, such as a client
behind a NAT that has forgotten it, may come to another worker. It begins with a new handshake
there, as on any server, and goes on with what is held. What only the other worker can do for it, it
is asked to do: end the upload of that name whose client has gone, or one that brings nothing where
the server is full. The client is told to come back in a second.

Transfers and hosts are counted in memory that all workers have (`ledger`), so that limits hold for
all of them together. Each writes to its own row there, which is cleared when it is gone. Cookies
are made with one secret. Part files are locked, as between any two processes.

Records of transfers, refusals and notices go to the supervisor (`messages`), which writes all lines
and counts for the metrics. A worker that dies is replaced by a new process with the same socket. A
client of the dead one notices as it does after any restart of a server, and goes on.

A worker ends when its supervisor closes its end of their socket, or is gone: it drains first. It
has no other signal, for Ctrl-C reaches all processes of a terminal alike.
"""
