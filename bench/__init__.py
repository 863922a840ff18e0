"""Measuring udpft against its peers, and the network paths to do it on. Linux, mostly as root."""

import sys

PEERS_FOLDER = "/opt/peers"
"""Where the image keeps peers written in Python. Not beside udpft: what they bring along can slow
every start of Python there, and a short transfer is mostly start."""

sys.path.append(PEERS_FOLDER)
