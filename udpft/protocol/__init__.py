"""The protocols, sans-I/O: nothing here reads a clock, a socket, a file or a random number.

Time and randomness come in as arguments, datagrams as buffers, files as a `ChunkSource` or a
`ChunkSink`. So whole transfers, both ends and the network between them, run under a virtual
clock and replay exactly from a seed.
"""
