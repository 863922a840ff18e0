"""Measuring udpft against its peers, and the network paths to do it on. Linux, mostly as root."""
