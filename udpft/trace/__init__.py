"""Traces: records of the datagrams that an end sends and receives, in files for others to read."""
