"""What goes wrong meanwhile: HighLevel's faults, killed workers, a database that is away."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread

from bench.programs import Program
from bench.soak.database import Server
from bench.stage import Sandbox

# Before the call takes effect, and after it: then the answer with the new token is lost.
FAULTS = (
    {"fault": "500"},
    {"fault": "502"},
    {"fault": "503"},
    {"fault": "504"},
    {"fault": "429", "retry_after": 3},
    {"fault": "html_body"},
    {"fault": "reset"},
    {"fault": "connect_timeout"},
    {"fault": "slow", "seconds": 4},
    {"fault": "drop_after_commit"},
)
FAULT_EVERY_S = 4.0
# So many in a soak, more or less.
OUTAGES, OUTAGE_S = 4, 20.0
# A web thread notices the end of its connection with its next request.
BACK_WITHIN_S = 5.0


@dataclass
class Troubles:
    """Makes trouble from `begin` to `end`. Units: `minutes` that the soak takes; `away` holds
    when the database was away, as pairs of `time.time()`."""

    minutes: float
    sandbox: Sandbox
    worker: Program
    database: Server | None
    away: list[tuple[float, float]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    said: list[tuple[float, str]] = field(default_factory=list)
    _stop: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def begin(self) -> None:
        self._repeat(FAULT_EVERY_S, self._trouble_highlevel)
        self._repeat(max(30.0, self.minutes * 60 / 20), self._kill_worker)
        if self.database is not None:
            self._repeat(max(70.0, self.minutes * 60 / 10), self._crash_database)

    def end(self) -> None:
        """HighLevel is well again, everything runs."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.sandbox.post("faults", clear=True)

    def was_away(self, began: float, ended: float) -> bool:
        """Whether the database was away meanwhile, or just back."""
        return any(begin <= ended and began <= end + BACK_WITHIN_S for begin, end in self.away)

    def _repeat(self, pause_s: float, trouble: Callable[[], None]) -> None:
        def go_on() -> None:
            while not self._stop.wait(pause_s * random.uniform(0.7, 1.3)):
                trouble()

        thread = Thread(target=go_on)
        thread.start()
        self._threads.append(thread)

    def _trouble_highlevel(self) -> None:
        """Strike the next few calls; what struck nobody until now is over."""
        self.sandbox.post("faults", clear=True)
        if random.random() < FAULT_EVERY_S / (self.minutes * 60 / OUTAGES):
            self._tell("HighLevel answers nothing but 503")
            self.sandbox.post("faults", fault="503", times=None)
            self._stop.wait(OUTAGE_S)
            self.sandbox.post("faults", clear=True)
            return
        fault = random.choice(FAULTS)
        self._count(f"HighLevel: {fault['fault']}")
        # A lost answer is repeated once, at once. Were that lost too, nobody could have the token.
        times = 1 if fault["fault"] == "drop_after_commit" else random.randint(1, 3)
        self.sandbox.post("faults", route="/oauth/token", times=times, **fault)

    def _kill_worker(self) -> None:
        self._tell("worker killed")
        self.worker.kill()

    def _crash_database(self) -> None:
        assert self.database is not None
        self._tell("database crashed")
        begin = time.time()
        self.database.crash()
        self.away.append((begin, time.time()))

    def _tell(self, what: str) -> None:
        self._count(what)
        self.said.append((time.time(), what))

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
