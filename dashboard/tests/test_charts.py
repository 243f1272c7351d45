from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from django.test import Client

from dashboard import charts
from integrations.models import HealthDay
from integrations.snapshots import Snapshot

NOW = datetime(2026, 5, 3, 12, 40, tzinfo=UTC)
HOUR = NOW.replace(minute=0)


def seen(**values: object) -> Snapshot:
    empty = {"counts": {}, "due": {}, "ends": {}, "first_end": None, "last_end": None}
    return Snapshot(taken_at=NOW, **(empty | values))  # type: ignore[arg-type]


def test_the_next_hours_show_what_comes_due_and_what_would_still_work() -> None:
    picture = charts.next_hours(
        seen(
            counts={"healthy": 10},
            due={HOUR - timedelta(hours=2): 1, HOUR: 2, HOUR + timedelta(hours=1): 6},
            ends={HOUR + timedelta(hours=2): 4},
        ),
        NOW,
    )
    assert [(due, alive) for _hour, due, alive in picture.rows[:4]] == [
        (3, 10),
        (6, 10),
        (0, 6),
        (0, 6),
    ]
    first, second = picture.bars
    assert second.height == 2 * first.height
    assert picture.line.count("V") == charts.HOURS


def test_without_accounts_there_is_an_empty_picture() -> None:
    picture = charts.next_hours(seen(), NOW)
    assert picture.bars == [] and picture.most == 0


def test_a_day_is_drawn_by_its_shares(db: None) -> None:
    HealthDay.objects.create(
        day=date(2026, 5, 2), taken_at=NOW, sums={"healthy": 30, "needs_reconnect": 10}, looks=10
    )
    *_, yesterday, today = charts.last_days(NOW)
    assert (yesterday.percentage, today.percentage) == (75, None)
    assert [bar.height for bar in yesterday.bars] == [90.0, 30.0]
    assert [bar.label for bar in yesterday.bars] == ["Healthy: 75 %", "Needs you: 25 %"]


def test_the_first_screen_has_both_pictures(staff_client: Client, make_install: object) -> None:
    make_install()  # type: ignore[operator]
    html = staff_client.get("/").content.decode()
    assert "Renewals of the next 24 hours" in html and "Health of the last 30 days" in html
    assert "If renewals stopped now, the first account would fail" in html
