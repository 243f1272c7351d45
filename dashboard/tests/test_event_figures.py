from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from access.roles import Role
from dashboard.event_figures import HOURS, read_figures
from webhooks import retention
from webhooks.models import AnswerCount, Backlog, EventRhythm, GoHighLevelWebhook, Outcome

pytestmark = pytest.mark.django_db

PAGE = "/events/figures/"
NOW = timezone.now()


def answered(n: int, outcome=Outcome.STORED, status=200, *, kind="", hours_ago=0, **fields) -> None:
    hour = (NOW - timedelta(hours=hours_ago)).replace(minute=0, second=0, microsecond=0)
    values = {"last_at": hour, "total_ms": 4 * n, "slowest_ms": 9}
    AnswerCount.objects.create(
        hour=hour, outcome=outcome, status=status, type=kind, count=n, **(values | fields)
    )


def test_the_meter_counts_what_highlevel_sent_in_three_days():
    answered(900, kind="ContactCreate")
    answered(50, Outcome.DUPLICATE)
    answered(50, Outcome.NOT_STORED, 429, hours_ago=70)
    answered(5000, Outcome.UNSIGNED, 401)
    answered(5000, Outcome.NOT_STORED, 429, hours_ago=80)
    meter = read_figures(NOW).meter
    assert (meter.answered, meter.total, meter.percentage) == (950, 1000, 95.0)
    assert not meter.is_in_danger


@pytest.mark.parametrize(
    ("accepted", "put_off", "is_in_danger"),
    [(9000, 999, False), (9000, 1001, True), (900, 900, False), (19_000, 1000, False)],
)
def test_it_warns_where_highlevel_would_pause(staff_client, accepted, put_off, is_in_danger):
    answered(accepted)
    answered(put_off, Outcome.NOT_STORED, 429)
    assert read_figures(NOW).meter.is_in_danger == is_in_danger
    text = staff_client.get(PAGE).content.decode()
    assert ("may pause our events" in text) == is_in_danger
    assert "pauses below 90 %" in text
    assert '<path class="meter-line" d="M900 0V24"/>' in text  # drawn at 900 of 1,000


def test_refused_deliveries_are_shown_with_reason_time_and_address(staff_client):
    answered(3, Outcome.BAD_SIGNATURE, 401, last_address="192.0.2.7")
    answered(4, Outcome.BAD_SIGNATURE, 401, hours_ago=5, last_address="192.0.2.1")
    answered(1, Outcome.OTHER_APP, 403)
    refused = {r.outcome: (r.count, r.last_address) for r in read_figures(NOW).refused}
    assert refused == {Outcome.BAD_SIGNATURE: (7, "192.0.2.7"), Outcome.OTHER_APP: (1, "")}
    text = staff_client.get(PAGE).content.decode()
    assert "Wrong signature" in text
    assert "192.0.2.7" in text


def test_the_frequent_types_have_colours_of_their_own_and_the_rest_is_one():
    for n in range(8):
        answered(10 - n, kind=f"Type{n}")
    chart = read_figures(NOW).by_type
    assert [s.name for s in chart.series] == [f"Type{n}" for n in range(5)] + ["others"]
    assert [s.total for s in chart.series] == [10, 9, 8, 7, 6, 5 + 4 + 3]
    assert len({s.css for s in chart.series}) == 6
    assert len(chart.hours) == HOURS
    assert all(bar.y >= 0 and bar.y + bar.height <= 120.2 for bar in chart.bars)


def test_answers_are_drawn_by_status():
    answered(5)
    answered(2, Outcome.DUPLICATE)
    answered(3, Outcome.UNREADABLE, 400)
    answered(1, Outcome.NOT_STORED, 429)
    series = read_figures(NOW).by_answer.series
    assert [s.total for s in series] == [7, 3, 1]


def test_the_longest_waits_are_drawn_and_the_present_one_told(staff_client):
    this_hour = NOW.replace(minute=0, second=0, microsecond=0)
    Backlog.objects.create(hour=this_hour - timedelta(hours=3), oldest_s=420)
    waiting_since(timezone.now() - timedelta(minutes=7))
    chart = read_figures(NOW).backlog
    assert (chart.most, chart.bars[0].label) == (420, "7 min waited by the oldest event")
    text = staff_client.get(PAGE).content.decode()
    assert "Highest hour: 7 min." in text
    assert "Waiting now: 7 min." in text


def test_what_waits_while_the_worker_stands_still_is_drawn_though_nobody_notes_it():
    this_hour = NOW.replace(minute=0, second=0, microsecond=0)
    waiting_since(this_hour - timedelta(hours=4))
    [series] = read_figures(this_hour + timedelta(minutes=30)).backlog.series
    assert [round(seconds / 1800) for seconds in series.values[-6:]] == [0, 2, 4, 6, 8, 9]
    assert set(series.values[:-6]) == {0}


def test_each_picture_has_words_and_a_table_in_the_zone_of_who_looks(staff_client):
    this_hour = NOW.replace(minute=0, second=0, microsecond=0)
    answered(3, kind="ContactCreate")
    staff_client.post("/me/", {"time_zone": "Asia/Kolkata"})
    text = staff_client.get(PAGE).content.decode()
    kolkata = this_hour.astimezone(ZoneInfo("Asia/Kolkata"))
    for name in ("types", "answers", "backlog"):
        _before, picture = text.split(f'aria-labelledby="{name}-title"', 1)
        picture = picture.partition("</section>")[0]
        assert f'role="img" aria-labelledby="{name}-title {name}-words"' in picture
        assert f'id="{name}-words"' in picture
        assert picture.count('<th scope="row">') == HOURS
        assert f'<th scope="row">{kolkata:%H:%M}</th>' in picture


def test_what_is_kept_is_shown_with_its_size(staff_client, settings):
    settings.WEBHOOK_KEEP_DAYS = 30
    GoHighLevelWebhook.objects.create(
        webhook_id="w-1", type="INSTALL", body="x" * 2048, occurred_at=NOW, received_at=NOW
    )
    retention.count_stock(timezone.now())
    text = staff_client.get(PAGE).content.decode().replace("\xa0", " ")
    assert "2.0 KB" in text
    assert "all others: 30 days" in text


def test_silent_accounts_are_named(staff_client, make_install):
    install = make_install(name="Harbour Dental")
    silent_since(install.resource_id, NOW - timedelta(hours=26))
    text = staff_client.get(PAGE).content.decode()
    assert "Harbour Dental" in text
    assert "No event for 26 h; usually every 40 min" in text


def test_who_is_limited_to_some_agencies_sees_their_silent_accounts_and_no_counts(
    client, make_person, make_install
):
    for company in ("mine", "other"):
        install = make_install(company_id=company, name=f"Sub-account of {company}")
        silent_since(install.resource_id, NOW - timedelta(hours=26))
    answered(1, Outcome.BAD_SIGNATURE, 401, last_address="192.0.2.7")
    client.force_login(make_person("olga", Role.OPERATOR, agencies=["mine"]))
    text = client.get(PAGE).content.decode()
    assert "Sub-account of mine" in text
    assert "Sub-account of other" not in text
    assert "192.0.2.7" not in text


def test_the_page_of_an_empty_installation_can_be_shown(staff_client):
    assert "Nothing has come" in staff_client.get(PAGE).content.decode()


def test_the_fragment_takes_a_fixed_number_of_queries(
    staff_client, make_install, django_assert_max_num_queries
):
    queries = []
    for number in (1, 40):
        for n in range(number):
            answered(1, kind=f"{number}-{n}", hours_ago=n)
            silent_since(make_install().resource_id, NOW - timedelta(hours=26))
        with django_assert_max_num_queries(14) as counted:
            answer = staff_client.get("/live/events/figures/")
        assert b"<html" not in answer.content
        queries.append(len(counted))
    assert queries[0] == queries[1]


def waiting_since(moment: datetime) -> None:
    GoHighLevelWebhook.objects.create(
        webhook_id="w-1",
        type="INSTALL",
        body="{}",
        occurred_at=moment,
        received_at=moment,
        process_at=moment,
    )


def silent_since(account_id: str, last_at: datetime) -> None:
    EventRhythm.objects.create(
        account_id=account_id,
        last_at=last_at,
        gaps=50,
        usual_s=2400,
        longest_s=7200,
        silent_at=last_at + timedelta(hours=3),
    )
