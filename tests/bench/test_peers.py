"""Each peer, fetching a file on loopback where its programs are installed; and the tables."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.contestant import Contestant
from bench.peers import Peer, Place, all_peers
from bench.peers.udpft import Udpft
from bench.plan import planned_s, rounds_of, takers
from bench.result import Sample, Scenario
from bench.runner import modes_of, prove
from bench.scenarios import FULL, QUICK
from bench.where.hosts import Host, Joined, Unavailable
from bench.where.loopback import Loopback, loopback
from tests.bench import runs

PEERS = all_peers()
SMALL = Scenario("small", "custom", 300_000)


@pytest.fixture(scope="module")
def ground() -> Iterator[Loopback]:
    with loopback() as ground:
        yield ground


@pytest.fixture
def joined(ground: Loopback) -> Iterator[Joined]:
    with ground.join(SMALL) as joined:
        yield joined


def fetch(peer: Peer, joined: Joined, scenario: Scenario = SMALL) -> Sample:
    contestant = Contestant(peer, scenario, joined)
    try:
        return contestant.fetch(0, seed=1, warm_up=False)
    finally:
        contestant.close()


class TestEach:
    @pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.label)
    def test_it_moves_the_file(self, peer: Peer, joined: Joined) -> None:
        [mode] = modes_of([peer], joined.client, "loopback")
        if mode.missing:
            pytest.skip(mode.missing)
        sample = fetch(peer, joined)
        assert sample.error == ""
        assert sample.bytes_per_s > 0
        assert sample.verified is (peer.kind != "ceiling")
        if peer.kind != "ceiling":
            assert sample.size_bytes == SMALL.size_bytes
        if peer.kind == "udpft" and peer.label != "udpft plain":
            assert sample.resent_share >= 0

    def test_several_clients_share_a_server(self, joined: Joined) -> None:
        crowd = Scenario("crowd", "clients", 20_000, clients=3)
        sample = fetch(Udpft(), joined, crowd)
        assert sample.error == ""
        assert sample.size_bytes == 60_000
        assert sample.slowest_to_median >= 1


class Forger(Udpft):
    """Delivers a file of the right size with the wrong bytes."""

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:
        size_bytes = (place.root / name).stat().st_size
        return ["truncate", "--size", str(size_bytes), str(destination)]


class Broken(Udpft):
    """Its server ends at once."""

    def daemon(self, place: Place, name: str) -> list[str]:  # noqa: ARG002
        return ["ls", str(place.root / "nowhere")]


class Hanging(Udpft):
    """Its client fails, and says why."""

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:  # noqa: ARG002
        return ["ls", str(place.root / "nowhere")]


class TestFailures:
    def test_a_wrong_file_is_a_failure_not_a_number(self, joined: Joined) -> None:
        sample = fetch(Forger(), joined)
        assert sample.error == "the file that arrived is not the source"
        assert sample.bytes_per_s == 0

    def test_a_server_that_does_not_start_says_why(self, joined: Joined) -> None:
        sample = fetch(Broken(), joined)
        assert sample.error.startswith("its server ended with 2: ls: ")

    def test_a_client_that_fails_says_why(self, joined: Joined) -> None:
        assert fetch(Hanging(), joined).error.startswith("exit 2: ls: ")

    @pytest.mark.skipif(not shutil.which("ip"), reason="no ip command here")
    def test_a_controller_that_cannot_be_chosen_is_a_failure(self, joined: Joined) -> None:
        class Cubic(Udpft):
            tcp_controller = "cubic"

        assert "no route from 127.0.0.1" in fetch(Cubic(), joined).error

    def test_a_missing_program_is_named(self, joined: Joined) -> None:
        class Missing(Udpft):
            programs = ("no-such-program", "python:no_such_module")

        [mode] = modes_of([Missing()], joined.client, "loopback")
        assert mode.missing == "not installed: no-such-program, no_such_module"


class TestGround:
    def test_loopback_cannot_be_impaired(self, ground: Loopback) -> None:
        with (
            pytest.raises(Unavailable, match="neither loss"),
            ground.join(Scenario("lossy", "loss", 1, loss=0.01)),
        ):
            pass

    def test_an_agent_tells_its_errors_and_goes_on(self, joined: Joined) -> None:
        with pytest.raises(RuntimeError, match="FileNotFoundError"):
            joined.client.call("start", name="x", command=["no-such-program"], folder="/tmp")
        assert joined.client.run("echo", "well") == "well"

    def test_the_path_is_probed(self, joined: Joined) -> None:
        proof = prove(SMALL, joined)
        assert proof.means == "none"
        assert 0 < proof.rtt_s < 10

    def test_a_host_that_is_closed_leaves_nothing_running(self, tmp_path: Path) -> None:
        import sys

        with Host([sys.executable, "-m", "bench.agent"], tmp_path) as host:
            pid = host.call("start", name="s", command=["sleep", "1000"], folder=str(tmp_path))
            assert Path(f"/proc/{pid}").exists()
        assert not Path(f"/proc/{pid}").exists()


class TestTables:
    def test_labels_are_one_each(self) -> None:
        labels = [peer.label for peer in PEERS]
        assert len(labels) == len(set(labels))
        assert all(peer.what for peer in PEERS)

    @pytest.mark.parametrize("table", [FULL, QUICK], ids=["full", "quick"])
    def test_scenarios_have_names_of_their_own_and_modes_that_exist(
        self, table: list[Scenario]
    ) -> None:
        names = [scenario.name for scenario in table]
        assert len(names) == len(set(names))
        labels = {peer.label for peer in PEERS}
        for scenario in table:
            assert set(scenario.modes) <= labels
            assert scenario.mtu in (1500, 9000)
            assert {"udpft", "nginx + curl"} <= (set(scenario.modes) or labels)

    def test_the_quick_scenarios_leave_out_one_group(self) -> None:
        assert {s.group for s in FULL} - {s.group for s in QUICK} == {"rate"}


class TestPlan:
    @pytest.mark.parametrize(
        ("table", "rounds", "seconds_each", "minutes"),
        [
            (FULL, command.ROUNDS, command.SECONDS_EACH, 35),
            (QUICK, command.QUICK_ROUNDS, command.QUICK_SECONDS_EACH, 5),
        ],
        ids=["full", "quick"],
    )
    def test_a_run_is_planned_to_end_in_time(
        self, table: list[Scenario], rounds: int, seconds_each: float, minutes: float
    ) -> None:
        run = replace(runs.run(), rounds=rounds, seconds_each=seconds_each)
        plan = [(scenario, takers(PEERS, scenario)) for scenario in table]
        assert 0.5 * minutes < planned_s(plan, run) / 60 < 0.95 * minutes

    def test_the_slow_take_part_in_fewer_rounds_and_nobody_in_less_than_three(self) -> None:
        run = replace(runs.run(), rounds=9, seconds_each=3.0)
        lan = Scenario("lan", "lan", 32 << 20)
        rounds = {p.label: rounds_of(run, lan, p) for p in takers(PEERS, lan)}
        assert rounds["udpft"] == rounds["udpft again"] == rounds["nginx + curl"] == 9
        assert rounds["aioquic"] == 3
        assert rounds["uftp"] == 5
        once = replace(run, rounds=1)
        assert {rounds_of(once, lan, peer) for peer in PEERS} == {1}
