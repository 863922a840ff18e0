"""Measurements: `udpft bench` on a form, its table while it grows, and those of before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import datetime
from threading import Thread
from typing import Literal

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from udpft.diagnosis.conclusion import conclusion
from udpft.diagnosis.speed import NO_NAME, Plan, Row, measure
from udpft.errors import Stopped, UdpftError, UsageError
from udpft.net.stop import Stop
from udpft.web.forms import Field, checked, read_form, text_in, whole_number
from udpft.web.live import Live, Piece
from udpft.web.rendering import Rendering
from udpft.web.transfers import words_of_a_bug

MAX_KEPT = 20
"""Measurements that are shown."""

TIME_S, MAX_TIME_S = 0.3, 30.0
"""Seconds for the rounds of a row: a look, and as many as a page waits for."""

ROUNDS, MAX_ROUNDS = 3, 9


def seconds(text: str) -> float:
    """Read a number of seconds. Raises UsageError."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.1 <= number <= MAX_TIME_S:
        raise UsageError(f"write a number of seconds from 0.1 to {MAX_TIME_S:g}")
    return number


class Measurement:
    """One measurement.

    Attributes:
        began: when, by this machine's clock.
        plan: what is measured.
        state: ``running`` until it is over.
        rows: those that are measured; grows while it runs.
        error: why it has failed, or that it was stopped.
        stop: ends it.
        thread: in which it runs.
    """

    def __init__(self, plan: Plan) -> None:
        self.began = datetime.now().astimezone()
        self.plan = plan
        self.state: Literal["running", "done", "failed", "stopped"] = "running"
        self.rows: list[Row] = []
        self.error: UdpftError | None = None
        self.stop = Stop()
        self.thread: Thread | None = None

    @property
    def conclusion(self) -> str:
        """What its rows say together."""
        return conclusion(self.rows)


class Bench:
    """View of the measurements. Used in the loop's thread.

    Attributes:
        _rendering: of the page.
        _live: is told of each row.
        _all: measurements, newest first.
        _version: grows with each row.
    """

    def __init__(self, rendering: Rendering, live: Live) -> None:
        self._rendering = rendering
        self._live = live
        self._all: list[Measurement] = []
        self._version = 0
        live.add("bench", self.pieces)

    @property
    def finished(self) -> list[Measurement]:
        """Those that are over, newest first."""
        return [one for one in self._all if one.state != "running"]

    def routes(self) -> list[Route]:
        """Paths of the view."""
        return [
            Route("/bench", self._show, methods=["GET"]),
            Route("/bench", self._begin, methods=["POST"]),
            Route("/bench/stop", self._stop, methods=["POST"]),
        ]

    def pieces(self) -> Sequence[Piece]:
        """What changes by itself: the table of the latest."""
        shown = self._all[:1]
        return [
            Piece(
                "measured",
                self._version,
                lambda: self._rendering.fragment("bench_tables.html", measured=shown),
            )
        ]

    @property
    def _running(self) -> Measurement | None:
        return next((one for one in self._all if one.state == "running"), None)

    def _page(self, request: Request, fields: dict[str, Field] | None = None) -> Response:
        shown = {"time": Field(f"{TIME_S:g}"), "rounds": Field(f"{ROUNDS}")}
        return self._rendering.page(
            request,
            "bench.html",
            422 if fields else 200,
            measured=self._all[:1],
            fields={**shown, **(fields or {})},
            live="bench",
            moving="measured" if self._running else "",
        )

    async def _show(self, request: Request) -> Response:
        return self._page(request)

    async def _begin(self, request: Request) -> Response:
        form = await read_form(request, self._rendering.access)
        fields: dict[str, Field] = {}
        fields["time"], time_s = checked(text_in(form, "time"), seconds)
        fields["rounds"], rounds = checked(text_in(form, "rounds"), whole_number(1, MAX_ROUNDS))
        if self._running:
            busy = "a measurement is running, and a second one would spoil both"
            fields["time"], time_s = Field(text_in(form, "time"), busy), None
        if time_s is None or rounds is None:
            return self._page(request, fields)
        measurement = Measurement(Plan(time_s=time_s, rounds=rounds))
        self._all = [measurement, *self._all][:MAX_KEPT]
        self._start(measurement)
        return RedirectResponse("/bench#measured", 303)

    async def _stop(self, request: Request) -> Response:
        await read_form(request, self._rendering.access)
        if running := self._running:
            running.stop.set()
        return RedirectResponse("/bench#measured", 303)

    def _start(self, measurement: Measurement) -> None:
        loop = asyncio.get_running_loop()

        def told() -> None:
            self._version += 1
            self._live.changed()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(told)

        def run() -> None:
            try:
                with (
                    self._rendering.settings.client(stop=measurement.stop) as client,
                    closing(measure(client, measurement.plan)) as rows,
                ):
                    for row in rows:
                        if row.missing == NO_NAME:  # whose words are of an option
                            row = row._replace(missing="it would stay there")
                        measurement.rows = [*measurement.rows, row]
                        tell()
                measurement.state = "done"
            except Stopped as error:
                measurement.error, measurement.state = error, "stopped"
            except UdpftError as error:
                measurement.error, measurement.state = error, "failed"
            except Exception as error:
                measurement.error, measurement.state = words_of_a_bug(error), "failed"
            tell()

        measurement.thread = Thread(target=run, name="udpft-web-bench", daemon=True)
        measurement.thread.start()
        told()

    def close(self) -> None:
        """Stop what is running."""
        if running := self._running:
            running.stop.set()
            if running.thread:
                running.thread.join()
