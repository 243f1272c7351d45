"""The schedules that the product cannot do without, as a migrate or a worker's start makes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.utils.module_loading import import_string
from django_q.models import Schedule
from django_q.signals import post_spawn

from integrations import pulse
from integrations.schedules import EACH_LOOK, REGULAR

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

# What each calls, and how often: "minutely", or when, as cron writes it.
NEEDED = {
    "whatreach: tick": ("integrations.tasks.scheduled_tick", "minutely"),
    "whatreach: pulse": ("integrations.pulse.show", EACH_LOOK),
    "whatreach: nightly clean-up": ("integrations.tasks.clean_up", "40 3 * * *"),
    "whatreach: waiting installs and comparisons": ("integrations.tasks.watch_life", "minutely"),
    "whatreach: unusual use of API keys": ("integrations.tasks.watch_keys", "minutely"),
    "whatreach: nightly comparison": ("integrations.reconcile.nightly", "20 2 * * *"),
    "whatreach: events": ("webhooks.tasks.scheduled_sweep", "minutely"),
    "whatreach: deliveries": ("webhooks.tasks.deliver", "minutely"),
    "whatreach: purge of events": ("webhooks.tasks.purge", "20 3 * * *"),
    "whatreach: alerts": ("alerts.tasks.tick", "minutely"),
    "whatreach: nightly clean-up of alerts": ("alerts.tasks.clean_up", "50 3 * * *"),
}


def migrate() -> None:
    call_command("migrate", verbosity=0)


def start_a_worker() -> None:
    """What a process of the worker's cluster says when it begins."""
    post_spawn.send(sender="django_q", proc_name="worker")


def how_often(schedule: Schedule) -> str:
    if (schedule.schedule_type, schedule.minutes) == (Schedule.MINUTES, 1):
        return "minutely"
    return str(schedule.cron)


@pytest.mark.parametrize("begin", [migrate, start_a_worker])
def test_every_schedule_is_there_for_ever_and_as_often_as_it_must_be(
    begin: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A worker's process has a thread beside it; here it would outlive the test.
    monkeypatch.setattr(pulse, "_stand_by", lambda: None)
    Schedule.objects.all().delete()
    begin()
    made = {row.name: (row.func, how_often(row)) for row in Schedule.objects.filter(repeats=-1)}
    assert made == NEEDED


@pytest.mark.parametrize(
    "func", [func for func, _ in NEEDED.values()] + [plan["func"] for plan in REGULAR.values()]
)
def test_what_a_schedule_calls_is_there(func: str) -> None:
    assert callable(import_string(func))
