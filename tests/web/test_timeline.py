"""Timeline of a transfer: what is drawn of its samples."""

from __future__ import annotations

from udpft.web.timeline import HEIGHT, MAX_SAMPLES, WIDTH, Sample, curve_of, thinned

PACKET = 2_048


def test_a_curve_has_the_rate_of_each_part_and_where_packets_were_sent_again() -> None:
    share = 10 / (1_000 + 10)  # ten packets in the second part, and none after
    samples = [
        Sample(0, 0, 0),
        Sample(1, 500 * PACKET, 0),
        Sample(2, 1_000 * PACKET, share),
        Sample(4, 2_000 * PACKET, 10 / 2_010),
    ]
    curve = curve_of(samples)
    assert curve
    assert curve.highest == 500 * PACKET
    assert curve.seconds == 4
    assert curve.losses == ((WIDTH / 4, WIDTH / 2, 10),)
    assert curve.most_lost == 10
    assert curve.line.split()[0] == "0.0,5.0"
    assert curve.line.split()[-1] == f"{WIDTH:.1f},5.0"
    assert curve.area.split()[0] == f"0.0,{HEIGHT}"


def test_what_only_seemed_lost_is_not_marked() -> None:
    samples = [
        Sample(0, 0, 0),
        Sample(1, 500 * PACKET, 0.01),
        Sample(2, 1_000 * PACKET, 0),
        Sample(3, 1_500 * PACKET, 0),
    ]
    curve = curve_of(samples)
    assert curve
    assert curve.losses == ()
    assert curve.most_lost == 1


def test_too_few_samples_are_no_curve() -> None:
    assert curve_of([]) is None
    assert curve_of([Sample(0, 0, 0), Sample(0, 5, 0)]) is None


def test_nothing_moved_is_a_line_at_the_bottom() -> None:
    curve = curve_of([Sample(0, 0, 0), Sample(1, 0, 0)])
    assert curve
    assert curve.line == f"0.0,{HEIGHT:.1f} {WIDTH:.1f},{HEIGHT:.1f}"


def test_a_long_transfer_has_no_more_samples_than_a_short_one() -> None:
    samples: list[Sample] = []
    for at in range(5_000):
        samples = thinned([*samples, Sample(at, at, 0)])
        assert len(samples) <= MAX_SAMPLES
        assert (samples[0].at_s, samples[-1].at_s) == (0, at)
    assert len(samples) > MAX_SAMPLES / 3
