"""Register of all transition tables, for the tests that walk them and the page that shows them."""

from __future__ import annotations

from typing import Any

from udpft.protocol.client.download import DOWNLOAD_STATES
from udpft.protocol.client.failover import FAILOVER_STATES
from udpft.protocol.client.upload import UPLOAD_STATES
from udpft.protocol.recovery.phases import PHASES
from udpft.protocol.server.upload import SERVER_UPLOAD_STATES
from udpft.protocol.states import TransitionTable
from udpft.protocol.transfer.receiver import RECEIVER_STATES
from udpft.protocol.transfer.sender_states import SENDER_STATES

MACHINES: dict[str, TransitionTable[Any, Any]] = {
    "Sender": SENDER_STATES,
    "Receiver": RECEIVER_STATES,
    "Download": DOWNLOAD_STATES,
    "Upload": UPLOAD_STATES,
    "ServerUpload": SERVER_UPLOAD_STATES,
    "Failover": FAILOVER_STATES,
    "CongestionController": PHASES,
}
"""Table of each class that executes one."""
