"""Hand-outs are counted exactly, or there is none; what is unusual about them is an alert."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from django_q.models import Schedule

from access.keys import create_api_key
from access.models import ApiKey, KeyAlert, Scope
from integrations import handouts
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, HandOut, KeyHour
from integrations.tasks import watch_keys

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def path(row):
    return f"/app/get-token/{row.pk}/"


def make_key(name="billing", **limits):
    key, text = create_api_key(name, scopes=Scope.values, **limits)
    return key, Client(headers={"Authorization": f"Bearer {text}"})


# --- Counting ---


def test_each_hand_out_is_counted_by_key_install_and_hour(make_install):
    first, second = make_install(), make_install()
    key, client = make_key()
    _other_key, other = make_key("crm")
    with time_machine.travel(NOON + timedelta(minutes=59), tick=False):
        for row in (first, first, second):
            client.get(path(row))
        other.get(path(first))
    with time_machine.travel(NOON + timedelta(minutes=61), tick=False):
        client.get(path(first))
    counted = HandOut.objects.order_by("hour", "-tokens", "key__name")
    assert [(c.key.name, c.integration, c.hour, c.tokens, c.calls) for c in counted] == [
        ("billing", first, NOON, 2, 0),
        ("billing", second, NOON, 1, 0),
        ("crm", first, NOON, 1, 0),
        ("billing", first, NOON + timedelta(hours=1), 1, 0),
    ]


def test_the_first_and_the_last_time_and_address_are_kept(make_install):
    row, (_key, client) = make_install(), make_key()
    for minute, address in ((1, "192.0.2.1"), (2, "192.0.2.2"), (3, "2001:db8::3")):
        with time_machine.travel(NOON + timedelta(minutes=minute), tick=False):
            client.get(path(row), REMOTE_ADDR=address)
    counted = HandOut.objects.get()
    assert (counted.first_at, counted.first_address) == (NOON + timedelta(minutes=1), "192.0.2.1")
    assert (counted.last_at, counted.last_address) == (NOON + timedelta(minutes=3), "2001:db8::3")


def test_who_gets_no_token_is_not_counted(make_install, api):
    api().get(path(make_install(status=Status.REFUSED)))
    api(Scope.INTEGRATIONS_READ).get(path(make_install()))
    assert not HandOut.objects.exists()


@pytest.mark.parametrize("known", [True, False])
def test_what_cannot_be_counted_is_not_handed_out(make_install, api, known):
    row, client = make_install(), api()
    if known:
        client.get(path(row))

    def break_counting(execute, sql, params, many, context):
        if "integrations_handout" in sql:
            raise OperationalError("disk full")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(break_counting):
        answer = client.get(path(row))
    assert (answer.status_code, answer.json()["error"]) == (503, "hand_out_not_recorded")
    assert answer["Retry-After"] == "5"
    assert row.open_access_token() not in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_as_many_are_counted_as_were_handed_out_at_once(make_install):
    rows = [make_install(), make_install()]
    keys = [make_key("billing"), make_key("crm")]
    threads_each, reads_each = 4, 12
    begin = threading.Barrier(threads_each * len(keys))
    statuses: list[int] = []

    def read(client: Client) -> None:
        try:
            begin.wait(120)
            for number in range(reads_each):
                statuses.append(client.get(path(rows[number % 2])).status_code)
        finally:
            connection.close()

    readers = [
        threading.Thread(target=read, args=[client])
        for _key, client in keys
        for _ in range(threads_each)
    ]
    with time_machine.travel(timezone.now().replace(minute=30), tick=False):
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(300)
    assert statuses == [200] * (len(readers) * reads_each)
    counted = HandOut.objects.values_list("key_id", "integration_id", "tokens")
    each = threads_each * reads_each // 2
    assert sorted(counted) == sorted((key.pk, row.pk, each) for key, _ in keys for row in rows)


# --- Looking ---


def test_who_has_a_token_is_told_with_the_latest_first(make_install, django_assert_num_queries):
    row, other = make_install(), make_install()
    (billing, by_billing), (crm, by_crm) = make_key("billing"), make_key("crm")
    for hour, client in enumerate([by_crm, by_billing, by_billing]):
        with time_machine.travel(NOON + timedelta(hours=hour), tick=False):
            client.get(path(row), REMOTE_ADDR=f"192.0.2.{hour}")
            client.get(path(other))
    with django_assert_num_queries(2):
        found = handouts.holders_of(row.pk, NOON - timedelta(hours=1))
    assert [(reads.other, reads.tokens) for reads in found] == [(billing, 2), (crm, 1)]
    assert (found[0].first_at, found[0].last_at) == (
        NOON + timedelta(hours=1),
        NOON + timedelta(hours=2),
    )
    assert set(found[0].addresses) == {"192.0.2.1", "192.0.2.2"}
    lately = handouts.holders_of(row.pk, NOON + timedelta(hours=2))
    assert [(reads.other, reads.tokens) for reads in lately] == [(billing, 1)]


def test_what_a_key_read_is_told_for_the_installs_one_may_see(make_install):
    seen, hidden = make_install(company_id="a"), make_install(company_id="b")
    key, client = make_key()
    client.get(path(seen))
    client.get(path(hidden))
    since = timezone.now() - timedelta(hours=1)
    everything = GoHighLevelIntegration.objects.all()
    assert {reads.other for reads in handouts.reads_of(key, since, everything, most=10)} == {
        seen,
        hidden,
    }
    own = everything.filter(company_id="a")
    assert [reads.other for reads in handouts.reads_of(key, since, own, most=10)] == [seen]


# --- Unusual use ---


def use(key, count, hour, row):
    HandOut.objects.create(
        key=key, integration=row, hour=hour, tokens=count, first_at=hour, last_at=hour
    )


def test_ten_times_the_usual_use_is_an_alert_once(make_install):
    key, _client = make_key()
    row = make_install()
    for hour in range(1, 30):
        KeyHour.objects.create(key=key, hour=NOON - timedelta(hours=hour), uses=50, installs=1)
    use(key, 500, NOON, row)
    assert handouts.watch(NOON + timedelta(minutes=5)) == 0
    HandOut.objects.update(tokens=501)
    assert handouts.watch(NOON + timedelta(minutes=6)) == 1
    assert handouts.watch(NOON + timedelta(minutes=7)) == 0
    alert = KeyAlert.objects.get()
    assert (alert.key, alert.kind) == (key, KeyAlert.TEN_TIMES)
    assert alert.details == {"uses": 501, "usual": 50}


def test_a_key_whose_habits_are_not_known_yet_raises_no_alert(make_install):
    key, _client = make_key()
    for hour in range(1, 6):
        KeyHour.objects.create(key=key, hour=NOON - timedelta(hours=hour), uses=1, installs=1)
    use(key, 5000, NOON, make_install())
    assert handouts.watch(NOON + timedelta(minutes=5)) == 0


def test_reading_more_than_half_of_all_installs_in_ten_minutes_is_an_alert(make_install):
    rows = [make_install() for _ in range(24)]
    key, client = make_key()
    with time_machine.travel(NOON, tick=False):
        for row in rows[:12]:
            client.get(path(row))
    assert handouts.watch(NOON + timedelta(minutes=5)) == 0
    with time_machine.travel(NOON + timedelta(minutes=6), tick=False):
        client.get(path(rows[12]))
    assert handouts.watch(NOON + timedelta(minutes=7)) == 1
    alert = KeyAlert.objects.get()
    assert (alert.key, alert.kind) == (key, KeyAlert.SWEEP)
    assert alert.details == {"installs": 13, "of": 24}


def test_a_slow_walk_over_all_installs_is_no_sweep(make_install):
    rows = [make_install() for _ in range(12)]
    _key, client = make_key()
    for number, row in enumerate(rows):
        moment = NOON + timedelta(minutes=2 * number)
        with time_machine.travel(moment, tick=False):
            client.get(path(row))
        assert handouts.watch(moment) == 0


def test_a_sweep_that_somebody_expects_is_no_alert_again(make_install):
    rows = [make_install() for _ in range(12)]
    _key, client = make_key()
    for day in range(3):
        moment = NOON + timedelta(days=day)
        GoHighLevelIntegration.objects.update(expires_at=moment + timedelta(hours=20))
        with time_machine.travel(moment, tick=False):
            for row in rows:
                assert client.get(path(row)).status_code == 200
        handouts.watch(moment)
        if day == 1:
            assert KeyAlert.objects.count() == 2
            KeyAlert.objects.update(accepted_at=moment)
    assert KeyAlert.objects.count() == 2


def test_the_watch_makes_few_queries_however_many_keys_there_are(
    make_install, django_assert_num_queries
):
    rows = [make_install() for _ in range(12)]
    for number in range(6):
        key, _client = make_key(f"key {number}")
        for hour in range(1, 20):
            KeyHour.objects.create(key=key, hour=NOON - timedelta(hours=hour), uses=1, installs=1)
        for row in rows:
            use(key, 100, NOON, row)
    # Add up, store, the usual use, the sweeps, the number of installs, known alerts, new alerts
    # (and in a test's transaction two savepoints for each of the two that store).
    with django_assert_num_queries(7):
        assert handouts.watch(NOON + timedelta(minutes=1)) == 12


def test_the_worker_watches_each_minute(make_install):
    watch = Schedule.objects.get(func="integrations.tasks.watch_keys")
    assert (watch.schedule_type, watch.minutes) == (Schedule.MINUTES, 1)
    for _ in range(12):
        row = make_install()
        use(make_key()[0], 1, timezone.now().replace(minute=0, second=0, microsecond=0), row)
    HandOut.objects.update(last_at=timezone.now(), key=ApiKey.objects.first())
    assert watch_keys() == {"alerts": 1, "counters": 0}


def test_a_new_address_of_a_key_is_an_alert_but_not_its_first(make_install):
    row, (key, client) = make_install(), make_key()
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"):
        client.get(path(row), REMOTE_ADDR=address)
    alert = KeyAlert.objects.get()
    assert (alert.key, alert.kind) == (key, KeyAlert.NEW_ADDRESS)
    assert alert.details == {"address": "192.0.2.2"}
    assert sorted(key.addresses.values_list("address", flat=True)) == ["192.0.2.1", "192.0.2.2"]


def test_many_new_addresses_of_a_key_are_one_alert_until_somebody_looks(make_install):
    row, (_key, client) = make_install(), make_key()
    for number in range(9):
        client.get(path(row), REMOTE_ADDR=f"192.0.2.{number}")
    alert = KeyAlert.objects.get()
    assert alert.details == {"address": "192.0.2.8", "others": 7}
    KeyAlert.objects.update(accepted_at=timezone.now())
    client.get(path(row), REMOTE_ADDR="192.0.2.9")
    assert KeyAlert.objects.get(accepted_at=None).details == {"address": "192.0.2.9"}


def test_two_addresses_in_turns_are_not_written_down_each_time(
    make_install, django_assert_num_queries
):
    row, (_key, client) = make_install(), make_key()
    addresses = ["192.0.2.1", "192.0.2.2"] * 3
    for address in addresses:
        client.get(path(row), REMOTE_ADDR=address)
    with django_assert_num_queries(3 * len(addresses)):
        for address in addresses:
            client.get(path(row), REMOTE_ADDR=address)


def test_a_key_that_read_something_is_not_deleted(make_install):
    from django.db.models import ProtectedError

    row, (key, client) = make_install(), make_key()
    client.get(path(row))
    with pytest.raises(ProtectedError):
        ApiKey.objects.filter(pk=key.pk).delete()
