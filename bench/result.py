"""Result of a benchmark run: one frozen value, and its JSON form.

`Run` holds every raw sample. Reports, tables and comparisons are pure functions of it, so that any
of them can be made again, years later, from ``run.json`` alone. The form of that file is in
``schema.json`` beside this module; a file that differs is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

SCHEMA = 1
"""Version of ``run.json``, in the file."""

SCHEMA_FILE = Path(__file__).with_name("schema.json")


@dataclass(frozen=True)
class ModeInfo:
    """A way to move a file, as the report names it.

    kind: ``udpft``, ``tcp``, ``udp``, or ``ceiling`` for what moves no file.
    what: one line on how it was run.
    missing: why it was not run at all: not installed, not there yet.
    """

    label: str
    kind: str
    what: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Scenario:
    """What is fetched over which path.

    group: the axis that it is a point of: ``lan``, ``size``, ``loss``, ``rtt``, ``rate``,
        ``clients``.
    size_bytes: of each client's file.
    loss: share of IP packets lost, each way.
    rtt_s: round trip added to the path; 0 for what the path has by itself.
    rate_bit_per_s: of the bottleneck; 0 for none.
    modes: the labels that are run here; empty for all.
    """

    name: str
    group: str
    size_bytes: int
    mtu: int = 9000
    clients: int = 1
    loss: float = 0.0
    rtt_s: float = 0.0
    rate_bit_per_s: float = 0.0
    modes: tuple[str, ...] = ()

    @property
    def is_shaped(self) -> bool:
        """Whether the path has a delay or a rate of its own."""
        return bool(self.rtt_s or self.rate_bit_per_s)

    @property
    def is_impaired(self) -> bool:
        """Whether the path is worse than the bare network between the ends."""
        return self.is_shaped or bool(self.loss)


@dataclass(frozen=True)
class Sample:
    """One run of one mode, by all clients at once.

    round: from 0; warm-ups have rounds of their own.
    seconds: from the start of the first client's process to the end of the last one, its file
        complete and synced.
    size_bytes: of all clients' files together.
    client_cpu_s, server_cpu_s: user and system time of either end.
    client_rss_bytes, server_rss_bytes: peak resident memory.
    resent_share: of what was sent, the share sent again; negative where nobody tells.
    receive_drops: datagrams that the receiving host dropped because a socket's buffer was full.
    slowest_to_median: of the clients' times, where there are several.
    verified: every file that arrived has the SHA-256 of its source. A ceiling has no file.
    error: why there is no result; a failed run has no rate.
    """

    scenario: str
    mode: str
    round: int
    seconds: float
    size_bytes: int
    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    client_rss_bytes: int = 0
    server_rss_bytes: int = 0
    resent_share: float = -1.0
    receive_drops: int = 0
    slowest_to_median: float = 1.0
    warm_up: bool = False
    verified: bool = False
    error: str = ""

    @property
    def bytes_per_s(self) -> float:
        """Goodput, all clients together; 0 for a failed run."""
        return 0.0 if self.error or not self.seconds else self.size_bytes / self.seconds

    @property
    def rss_bytes(self) -> int:
        """Peak resident memory of the end that took more."""
        return max(self.client_rss_bytes, self.server_rss_bytes)

    @property
    def cpu_s_per_gb(self) -> float:
        """Processor seconds of both ends for 10⁹ bytes of file."""
        return (self.client_cpu_s + self.server_cpu_s) / self.size_bytes * 1e9


@dataclass(frozen=True)
class Proof:
    """That a scenario's impairment took place, measured with datagrams of our own.

    means: ``netem``, ``firewall``, ``emulator``, or ``none``.
    n_datagrams: datagrams sent towards the client to measure the loss, in batches of 32.
    rtt_s: median round trip of a small datagram.
    loss_run: datagrams lost in a row, in the mean; 1 / (1 − loss) where each is lost on its own.
    busy_processors: how many were at work before anything of ours was: other things on the machine.
    """

    scenario: str
    means: str
    n_datagrams: int
    loss: float
    rtt_s: float
    loss_run: float = 0.0
    busy_processors: float = 0.0

    def holds_for(self, scenario: Scenario) -> bool:
        """Whether loss and round trip are within 20 % of what was asked (and 3 ms of slack).

        And whether datagrams were lost one by one, and not a batch at a time.
        """
        lossy = abs(self.loss - scenario.loss) <= 0.2 * scenario.loss
        singly = self.loss_run <= 1.2 / (1 - scenario.loss)
        late = abs(self.rtt_s - scenario.rtt_s) <= 0.2 * scenario.rtt_s + 0.003
        return lossy and singly and late


@dataclass(frozen=True)
class Trace:
    """One reliable transfer over time; columns of equal length, one entry a moment.

    at_s: since its start. goodput_bytes_per_s: written at the receiver, since the moment before.
    window_bytes: what the congestion controller allowed in flight. lost_at_s: when packets were
    declared lost. what: the path, in words.
    """

    what: str
    link_bytes_per_s: float
    at_s: tuple[float, ...]
    goodput_bytes_per_s: tuple[float, ...]
    window_bytes: tuple[float, ...]
    lost_at_s: tuple[float, ...]


@dataclass(frozen=True)
class Run:
    """A whole run. ``reference`` and ``subject`` are the labels that ratios and verdicts take.

    rounds: at most; a mode takes part in as many as fit in ``seconds_each`` for each scenario, and
    in three at least.
    """

    stamp: str
    where: str
    quick: bool
    seed: int
    rounds: int
    warm_ups: int
    seconds_each: float
    environment: Mapping[str, str]
    modes: tuple[ModeInfo, ...]
    scenarios: tuple[Scenario, ...]
    samples: tuple[Sample, ...] = ()
    proofs: tuple[Proof, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    trace: Trace | None = None
    reference: str = "nginx + curl"
    subject: str = "udpft"
    again: str = "udpft again"
    interrupted: bool = False

    def scenario(self, name: str) -> Scenario:
        """The scenario of this name; raises KeyError."""
        for scenario in self.scenarios:
            if scenario.name == name:
                return scenario
        raise KeyError(name)

    def mode(self, label: str) -> ModeInfo:
        """The mode of this label; raises KeyError."""
        for mode in self.modes:
            if mode.label == label:
                return mode
        raise KeyError(label)

    def with_samples(self, *samples: Sample) -> Run:
        """The same run, further on."""
        return replace(self, samples=(*self.samples, *samples))


class InvalidRun(ValueError):
    """A file is no ``run.json`` of this version; the message says where it differs."""


def to_json(run: Run) -> str:
    """The run as JSON: one sample a line, defaults left out, six significant digits."""
    document = {"schema": SCHEMA, **_lean(run)}
    lines = []
    for key, value in document.items():
        if key in ("samples", "scenarios", "modes", "proofs") and value:
            rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value)
            lines.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _lean(value: Any) -> dict[str, Any]:
    """A dataclass as a dictionary, without what is at its default."""
    whole = {}
    for one in fields(value):
        item = getattr(value, one.name)
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if item != default:
            whole[one.name] = _plain(item)
    return whole


def _plain(item: Any) -> Any:
    if isinstance(item, float):
        return float(f"{item:.6g}")
    if isinstance(item, (tuple, list)):
        return [_plain(one) for one in item]
    if isinstance(item, Mapping):
        return {key: _plain(one) for key, one in item.items()}
    return _lean(item) if hasattr(item, "__dataclass_fields__") else item


def from_json(text: str) -> Run:
    """Read what `to_json` wrote.

    Raises:
        InvalidRun: it is no such thing, by the committed schema.
    """
    import jsonschema  # an extra; a run is written without it

    try:
        document = json.loads(text)
        jsonschema.validate(document, json.loads(SCHEMA_FILE.read_text()))
    except (json.JSONDecodeError, jsonschema.ValidationError) as error:
        what = getattr(error, "message", str(error))
        raise InvalidRun(f"no run.json of version {SCHEMA}: {what}") from error
    del document["schema"]
    trace = document.pop("trace", None)
    return Run(
        modes=tuple(ModeInfo(**one) for one in document.pop("modes")),
        scenarios=tuple(_scenario(one) for one in document.pop("scenarios")),
        samples=tuple(Sample(**one) for one in document.pop("samples", [])),
        proofs=tuple(Proof(**one) for one in document.pop("proofs", [])),
        trace=_trace(trace) if trace else None,
        **document,
    )


def _trace(document: dict[str, Any]) -> Trace:
    columns: dict[str, Any] = {k: v for k, v in document.items() if isinstance(v, list)}
    return Trace(**document | {name: tuple(column) for name, column in columns.items()})


def _scenario(document: dict[str, Any]) -> Scenario:
    return Scenario(**document | {"modes": tuple(document.get("modes", ()))})


def write(run: Run, path: Path) -> None:
    """Write ``run.json`` so that the file is whole at every moment."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(to_json(run))
    os.replace(beside, path)


def read(path: Path) -> Run:
    """Read a ``run.json``, or the one in a folder.

    Raises:
        InvalidRun: it is no such file.
        OSError: it cannot be read.
    """
    return from_json((path / "run.json" if path.is_dir() else path).read_text())
