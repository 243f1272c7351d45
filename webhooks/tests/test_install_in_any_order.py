"""Whatever happens to an install, and in whatever order we hear of it: the end is the same as at
HighLevel. Hypothesis makes up the stories."""

from __future__ import annotations

import json
import os
from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
import time_machine
from django.db import transaction
from django.test import Client, override_settings
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import REDIRECT_URI
from integrations import highlevel
from integrations.health import State
from integrations.models import LOCATION, GoHighLevelIntegration
from integrations.tasks import tick
from sandbox.transport import SandboxAdapter
from sandbox.world import World
from webhooks import bell, processing
from webhooks.tests.conftest import WEBHOOK, as_request

pytestmark = [pytest.mark.one_database, pytest.mark.django_db]
BEGIN = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
LOCATIONS = 2
# STORIES=2000 for the long run.
STORIES = int(os.environ.get("STORIES", "60"))
TELL_OF_THE_APP = ("INSTALL", "UPDATE", "PLAN_CHANGE")
FIELDS = {"versionId": "version_id", "planId": "plan_id", "newPlanId": "plan_id"}
which = st.integers(0, 3)
place = st.integers(0, 9)

# What happens at HighLevel, and what reaches us of it.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("agency_allows"), st.lists(which, max_size=LOCATIONS)),
        st.tuples(st.just("agency_allows_future_ones_too"), st.none()),
        st.tuples(st.just("a_sub_account_opens"), st.none()),
        st.tuples(st.just("client_allows"), which),
        st.tuples(st.just("client_removes"), which),
        st.tuples(st.just("agency_removes"), st.none()),
        st.tuples(st.just("the_app_is_updated"), which),
        st.tuples(st.just("the_plan_changes"), which),
        st.tuples(st.just("the_agency_is_renamed"), st.none()),
        st.tuples(st.just("an_event_comes"), place),
        st.tuples(st.just("an_event_comes_twice"), place),
        st.tuples(st.just("a_browser_comes_back"), place),
        st.tuples(st.just("the_worker_works"), st.none()),
    ),
    min_size=2,
    max_size=14,
)
# Seconds between two steps: people are slow, and sometimes quick.
pauses = st.sampled_from([2, 60, 1200])


class Story:
    """One HighLevel, one agency, and what is still on its way to us."""

    def __init__(self, world: World, clock: time_machine.Traveller, *, sparse: bool) -> None:
        self.world, self.clock, self.sparse = world, clock, sparse
        self.removed: set[str] = set()
        self.client = Client()
        self.agency = world.create_agency("Northwind", locations=LOCATIONS)
        self.locations = [location.id for location in world.locations(self.agency.id)]
        self.events: deque[tuple[bytes, dict[str, str]]] = deque()
        self.codes: deque[str] = deque()
        # By sub-account and column, what the newest event says, whenever it comes.
        self.told: dict[tuple[str, str], str] = {}
        self.changes = count(1)
        self.name = ""  # since it was renamed

    def agency_allows(self, chosen: list[int]) -> None:
        ids = sorted({self._location(n) for n in chosen}) or None
        self._allowed(self.world.install(self.agency.id, ids, redirect_uri=REDIRECT_URI))

    def agency_allows_future_ones_too(self, _: None) -> None:
        self._allowed(self.world.install(self.agency.id, future=True, redirect_uri=REDIRECT_URI))

    def a_sub_account_opens(self, _: None) -> None:
        """HighLevel says so to an agency with the app; of its INSTALL only by its own id."""
        self.locations.append(self.world.create_location(self.agency.id).id)
        self._collect()

    def client_allows(self, n: int) -> None:
        ids = [self._location(n)]
        code = self.world.install(self.agency.id, ids, bulk=False, redirect_uri=REDIRECT_URI)
        self._allowed(code)

    def client_removes(self, n: int) -> None:
        if self.is_installed(self._location(n)):
            self._removed(self._location(n))

    def agency_removes(self, _: None) -> None:
        if self.is_installed(""):
            self._removed(self.agency.id)

    def the_app_is_updated(self, n: int) -> None:
        """HighLevel's page shows the plan, the older deliveries no version."""
        version = {} if self.sparse else {"versionId": f"version {next(self.changes)}"}
        self._changed("UPDATE", n, version | {"planId": f"plan {next(self.changes)}"})

    def the_plan_changes(self, n: int) -> None:
        self._changed("PLAN_CHANGE", n, {"newPlanId": f"plan {next(self.changes)}"})

    def the_agency_is_renamed(self, _: None) -> None:
        self.name = f"Northwind {next(self.changes)}"
        self.world.rename_agency(self.agency.id, self.name)
        self._send({"type": "UPDATE", "companyId": self.agency.id, "companyName": self.name})

    def an_event_comes(self, n: int) -> None:
        if self.events:
            self._post(self._take(self.events, n))

    def an_event_comes_twice(self, n: int) -> None:
        if self.events:
            event = self._take(self.events, n)
            self._post(event)
            self._post(event)

    def a_browser_comes_back(self, n: int) -> None:
        """With a code that is still good, or that an uninstall has made void since."""
        if self.codes:
            answer = self.client.get("/app/callback/", {"code": self._take(self.codes, n)})
            assert answer.status_code in (302, 400)

    def the_worker_works(self, _: None = None) -> None:
        while entry := OrmQ.objects.order_by("pk").first():
            task = entry.task
            entry.delete()
            import_string(task["func"])(*task["args"], **task["kwargs"])

    def all_the_rest_comes(self, n: int) -> None:
        while self.events or self.codes:
            self.an_event_comes(n)
            self.a_browser_comes_back(n)
            self.clock.shift(1)
        for _ in range(4):  # also what waits for another try
            self.the_worker_works()
            self.clock.shift(timedelta(minutes=61))
            tick()
        self.the_worker_works()

    def is_installed(self, location_id: str) -> bool:
        return self.world.people.install(self.agency.id, location_id) is not None

    def _location(self, n: int) -> str:
        return self.locations[n % len(self.locations)]

    def _removed(self, account: str) -> None:
        if self.sparse and account in self.removed:
            return  # word for word the same as the last one, it would be a copy of that
        self.removed.add(account)
        self.world.uninstall(account)
        self._collect()

    def _allowed(self, code: str) -> None:
        self.codes.append(code)
        self._collect()

    def _changed(self, kind: str, n: int, fields: dict[str, str]) -> None:
        ids = {"locationId": self._location(n), "companyId": self.agency.id}
        self._send({"type": kind, **ids, **fields})

    def _send(self, body: dict[str, str]) -> None:
        if not self.sparse:
            body["timestamp"] = timezone.now().isoformat()
        self._take_in(*self.world.signer.signed(json.dumps(body).encode(), "ed25519"))
        self._collect()

    def _take_in(self, body: bytes, headers: dict[str, str]) -> None:
        self.events.append((body, headers))
        event = json.loads(body)
        for field, column in FIELDS.items():
            if event["type"] in TELL_OF_THE_APP and field in event:
                self.told[event.get("locationId", ""), column] = event[field]

    def _collect(self) -> None:
        def take(_url: str, body: bytes, headers: dict[str, str]) -> int:
            self._take_in(body, headers)
            return 200

        self.world.deliver(take)
        while self.sparse and self.events:  # no time in them: when they come is when they happened
            self._post(self.events.popleft())
            self.clock.shift(1)

    def _take(self, things: deque, n: int):
        things.rotate(-(n % len(things)))
        return things.popleft()

    def _post(self, event: tuple[bytes, dict[str, str]]) -> None:
        body, headers = event
        assert self.client.post(WEBHOOK, body, **as_request(headers)).status_code == 200


@pytest.fixture
def tell(monkeypatch):
    """Run a story in a fresh world; return it."""
    monkeypatch.setattr(bell, "EVERY_S", 0)
    monkeypatch.setattr(processing, "LOOK_AT_MOST_S", 0)

    def tell(story_steps, pause, last, sparse):
        world = World(":memory:")
        world.set_knobs(code_life_seconds=10**6)
        if sparse:
            world.set_knobs(install_fields="sparse", uninstall_fields="sparse", event_extras=False)
        keys = [world.signer.ed25519_public_key()]
        session = highlevel.make_session()
        session.mount("https://", SandboxAdapter(world))
        monkeypatch.setattr(highlevel, "SESSION", session)
        with (
            override_settings(GHL_WEBHOOK_PUBLIC_KEYS=keys),
            time_machine.travel(BEGIN, tick=False) as clock,
        ):
            story = Story(world, clock, sparse=sparse)
            for name, argument in story_steps:
                getattr(story, name)(argument)
                clock.shift(pause)
            story.all_the_rest_comes(last)
            return story, timezone.now()

    return tell


@settings(
    max_examples=STORIES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps, pauses, place, st.booleans())
def test_the_end_is_as_at_highlevel_whatever_comes_first(tell, steps, pause, last, sparse):
    """`sparse`: with the events of HighLevel's older pages, which tell neither id nor time."""
    with transaction.atomic():
        story, now = tell(steps, pause, last, sparse)
        check(story, now)
        transaction.set_rollback(True)


def check(story: Story, now: datetime) -> None:
    here = {row.resource_id: row.state(now) for row in GoHighLevelIntegration.objects.all()}
    for account, location_id in [(story.agency.id, ""), *((id, id) for id in story.locations)]:
        if story.is_installed(location_id):
            assert here[account] is State.HEALTHY, (account, here)
        else:
            assert here.get(account, State.UNINSTALLED) is State.UNINSTALLED, (account, here)
    rows = GoHighLevelIntegration.objects.filter(user_type=LOCATION)
    for row in rows:
        for column in ("version_id", "plan_id"):
            # Where no event tells it, the agency's list may.
            newest = story.told.get((row.resource_id, column)) or getattr(row, column)
            assert getattr(row, column) == newest, (row.resource_id, column)
    names = {location.id: location.name for location in story.world.locations(story.agency.id)}
    installed = [row for row in rows if story.is_installed(row.resource_id)]
    assert all(row.name == names[row.resource_id] for row in installed)
    if story.name:
        assert all(row.company_name == story.name for row in installed)
    assert story.world.max_uses() <= 1
    story.world.close()
