"""A month of many installs in seconds: a frozen clock jumps from one due moment to the next.

MONTH_INSTALLS says how many there are, MONTH_SEED which faults strike when.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
import time_machine
from django.db.models import Min
from django.utils import timezone
from requests import PreparedRequest, ReadTimeout, Response

from integrations import highlevel, pacing, tasks
from integrations.health import State, Status
from integrations.install import finish_install
from integrations.models import GoHighLevelIntegration
from sandbox.transport import SandboxAdapter
from sandbox.world import World

pytestmark = [pytest.mark.one_database, pytest.mark.django_db]
INSTALLS = int(os.environ.get("MONTH_INSTALLS", "20"))
SEED = int(os.environ.get("MONTH_SEED", "1"))
DAYS = timedelta(days=30)
# A tick with nothing due changes nothing: so often is enough to see that.
IDLE_TICKS = timedelta(hours=3)

# Of each fifteen installs one is an agency, nine are its sub-accounts, five stand alone.
GROUP, SUB_ACCOUNTS = 15, 9

# The token is spent and nobody hears of it. A slow answer comes after our time-out.
LOST = ("drop_after_commit", "slow")
HARMLESS = ("reset", "500", "502", "503", "504", "html_body", "connect_timeout", "429")
HARMLESS_SHARE, LOST_SHARE = 0.08, 0.02
# A failed renewal is tried again after an hour at the latest, give or take 20 %, at a full minute.
RECOVERED_AFTER = pacing.BACKOFF_LONGEST * 1.2 + timedelta(minutes=1)


class Weather(SandboxAdapter):
    """HighLevel with faults by the dice, and an outage.

    When an answer was lost, the repeat that follows at once gets through, and what follows a fault
    is never lost: so nothing but HighLevel's grace time decides whether a lost answer heals.
    """

    def __init__(self, world: World, clock: time_machine.Traveller, outage: datetime) -> None:
        super().__init__(world)
        self.world = world
        self.clock = clock
        self.outage_from, self.outage_until = outage, outage + timedelta(hours=3)
        self.is_calm = True
        self.dice = random.Random(SEED)
        self.struck: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._last = ""

    def is_out(self) -> bool:
        return self.outage_from <= timezone.now() < self.outage_until

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        self._last = self._next_fault()
        if self._last:
            self._plan(self._last, request)
        try:
            return super().send(request, *args, **kwargs)
        except ReadTimeout:
            self.clock.shift(highlevel.READ_TIMEOUT_S)
            raise

    def _next_fault(self) -> str:
        if self.is_out():
            return self.dice.choice(["503", "connect_timeout"])
        roll = self.dice.random()
        if self.is_calm or self._last in LOST:
            return ""
        if roll < HARMLESS_SHARE:
            return self.dice.choice(HARMLESS)
        is_lost = roll < HARMLESS_SHARE + LOST_SHARE and not self._last
        return self.dice.choice(LOST) if is_lost else ""

    def _plan(self, fault: str, request: PreparedRequest) -> None:
        self.struck[fault] += 1
        self.world.fault(fault, **({"retry_after": 90} if fault == "429" else {}))
        if fault in LOST:
            self._note_loss(request.body or "")

    def _note_loss(self, body: str | bytes) -> None:
        fields = parse_qs(body if isinstance(body, str) else body.decode())
        if "refresh_token" in fields:
            resource_id = self.world.tokens.resource_of(fields["refresh_token"][0])
            # A paused one is told so, and its token is not spent.
            if self.world.people.is_active(*self.world.people.place(resource_id)):
                self.lost[resource_id] += 1


class Month:
    """Installs of all kinds and thirty days of ticks."""

    def __init__(self, world: World, clock: time_machine.Traveller) -> None:
        self.world = world
        self.clock = clock
        self.begins_at = timezone.now()
        self.weather = Weather(world, clock, outage=self.begins_at + timedelta(days=12, hours=7))
        highlevel.SESSION.mount("https://", self.weather)
        random.seed(SEED)  # the jitter of renewals

    def install_all(self, install_agency: Callable[..., Any], install_location: Any) -> None:
        while (count := GoHighLevelIntegration.objects.count()) < INSTALLS:
            if count % GROUP == 0 and count + GROUP <= INSTALLS:
                finish_install(install_agency(SUB_ACCOUNTS).pk)
            else:
                install_location()
        while tasks.tick()["renewed"]:  # on a slow machine the time of one tick is not enough
            pass
        assert set(self.states().values()) == {State.HEALTHY}
        self.weather.is_calm = False

    def pass_by(self, plan: dict[datetime, Callable[[], None]]) -> None:
        """Let the days pass with a tick each minute that something is due, and now and then.

        `plan`: what else happens, and when. Before each tick nobody's token may have expired.
        """
        to_come = sorted(plan)
        while timezone.now() < self.begins_at + DAYS:
            self.clock.move_to(self._next_tick())
            while to_come and to_come[0] <= timezone.now():
                plan[to_come.pop(0)]()
            ends_soon = timezone.now() > self.begins_at + DAYS - timedelta(days=2)
            # One more fault at the first try after the outage would cost another hour.
            self.weather.is_calm = ends_soon or self._recovers_from_outage()
            if not self._recovers_from_outage():
                assert list(self._expired()) == [], f"expired at {timezone.now()}"
            tasks.tick()

    def states(self) -> dict[str, State]:
        rows = GoHighLevelIntegration.objects.without_secrets()
        return {row.resource_id: row.state(timezone.now()) for row in rows}

    def _next_tick(self) -> datetime:
        now = timezone.now()
        minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
        hour = now.replace(minute=0, second=0, microsecond=0) + IDLE_TICKS
        due = GoHighLevelIntegration.objects.aggregate(due=Min("renew_at"))["due"] or hour
        due_minute = due.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return min(hour, max(minute, due_minute))

    def _recovers_from_outage(self) -> bool:
        weather = self.weather
        return weather.outage_from <= timezone.now() <= weather.outage_until + RECOVERED_AFTER

    def _expired(self) -> Any:
        active = GoHighLevelIntegration.objects.filter(status=Status.ACTIVE)
        return active.filter(expires_at__lte=timezone.now()).values_list("name", "cause")


@pytest.fixture
def month(world, install_agency, install_location, settings):
    settings.VERIFY_EVERY = timedelta(days=2)  # many more checks would only take time
    # The database's clock, which leases are compared with, goes on; it must not be ahead.
    with time_machine.travel(timezone.now() + timedelta(hours=1), tick=False) as clock:
        month = Month(world, clock)
        month.install_all(install_agency, install_location)
        yield month


def some_pauses(month: Month) -> dict[datetime, Callable[[], None]]:
    """Every eighth sub-account is paused for some days; all are back a week before the end."""
    plan: dict[datetime, Callable[[], None]] = {}
    dice = random.Random(SEED)
    for location in month.world.locations()[::8]:
        pause_at = month.begins_at + timedelta(minutes=dice.randrange(20 * 24 * 60))
        plan[pause_at] = lambda pk=location.id: month.world.pause(pk)
        resume_at = pause_at + timedelta(minutes=dice.randrange(1, 3 * 24 * 60))
        plan[resume_at] = lambda pk=location.id: month.world.resume(pk)
    return plan


def test_a_month_of_faults_costs_no_install_while_highlevel_forgives_a_repeat(month):
    """Promised with HighLevel's 30 s of grace: an answer that is lost once heals at once, for
    agencies, sub-accounts and those that stand alone. No token expires but of the paused ones and
    in the outage, whose last traces are gone after 73 minutes without another fault."""
    month.world.set_knobs(refresh_grace_seconds=30)
    month.pass_by(some_pauses(month))
    assert set(month.states().values()) == {State.HEALTHY}
    tokens = month.world.tokens.token_uses(limit=INSTALLS * 100)
    assert sum(token.accepted_in_grace for token in tokens) == month.weather.lost.total() > 0
    assert all(token.accepted - token.accepted_in_grace <= 1 for token in tokens)
    assert set(month.weather.struck) == {*LOST, *HARMLESS}


def test_a_month_without_grace_costs_only_those_whom_no_agency_can_help(month):
    """Promised when HighLevel forgives no repeat: every refresh token is accepted at most once,
    and an answer that is lost needs a person only for an agency, for an install that stands alone,
    and for a sub-account whose agency itself needs a person."""
    month.world.set_knobs(refresh_grace_seconds=0)
    month.pass_by(some_pauses(month))
    assert month.world.max_accepted() == 1
    rows = list(GoHighLevelIntegration.objects.without_secrets())
    states = month.states()
    gone = {row for row in rows if states[row.resource_id] is State.NEEDS_RECONNECT}
    gone_ids = {row.resource_id for row in gone}
    agencies = {row.resource_id for row in rows if row.is_agency}
    assert {row.cause for row in gone} == {"answer_lost"}
    helpless = {
        row.resource_id
        for row in rows
        if row.is_agency or row.company_id not in agencies or row.company_id in gone_ids
    }
    assert gone_ids <= helpless & set(month.weather.lost)
    alone = {row.resource_id for row in rows if row.company_id not in agencies}
    assert alone & set(month.weather.lost) <= gone_ids
    assert {states[pk] for pk in states.keys() - gone_ids} == {State.HEALTHY}
