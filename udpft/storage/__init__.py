"""Files: what a server may read, and how a download comes to its name.

`root.Root` opens files beneath one folder and no others. `partfile.PartFile` is a file on its way
in. Both take and give whole bursts, as `udpft.protocol.contract` asks of a source and a sink.
"""
