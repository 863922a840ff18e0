"""Record of a server's transfer: the figures that are worked out of the others."""

from __future__ import annotations

from udpft.outcome.served import Served

SERVED = Served("file", "192.0.2.1:5", "reliable", 1_000, 1_100, 2.0, 0, True, None)


def test_new_bytes_of_a_download_are_those_that_left_and_never_more_than_the_file() -> None:
    assert SERVED.new_bytes == 1_000
    assert SERVED._replace(bytes_sent=300).new_bytes == 300
    assert SERVED.rate_bytes_per_s == 500


def test_new_bytes_of_an_upload_are_those_that_came() -> None:
    upload = SERVED._replace(bytes_received=600)
    assert (upload.new_bytes, upload.rate_bytes_per_s) == (600, 300)
    assert upload._replace(seconds=0.0).rate_bytes_per_s == 0
