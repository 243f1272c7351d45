from __future__ import annotations

import json
import uuid
from collections.abc import Callable

from django.test import Client
from django_q.models import OrmQ

from integrations.health import Status
from integrations.models import GoHighLevelIntegration

Make = Callable[..., GoHighLevelIntegration]


def refresh_url(row: GoHighLevelIntegration) -> str:
    return f"/installs/{row.pk}/refresh/"


def htmx(target: str, page: str = "/installs/") -> dict[str, str]:
    return {
        "HX-Request": "true",
        "HX-Target": target,
        "HX-Current-URL": f"http://testserver{page}",
    }


def test_the_row_shows_refreshing_at_once(staff_client: Client, make_install: Make) -> None:
    row = make_install()
    answer = staff_client.post(refresh_url(row), headers=htmx(f"install-{row.pk}"))
    html = answer.content.decode()
    assert html.strip().startswith(f'<tr id="install-{row.pk}"')
    assert "Refreshing…" in html and 'name="ids"' in html
    assert "install-changed" in json.loads(answer["HX-Trigger"])
    assert OrmQ.objects.count() == 1


def test_the_answer_fits_the_place_of_the_click(staff_client: Client, make_install: Make) -> None:
    row = make_install(status=Status.PAUSED)
    places = {
        f"install-{row.pk}": ("/", f'<tr id="install-{row.pk}"'),
        f"attention-{row.pk}": ("/", f'<li id="attention-{row.pk}"'),
        f"account-{row.pk}": (f"/installs/{row.pk}/", f'<div id="account-{row.pk}"'),
    }
    for target, (page, root) in places.items():
        answer = staff_client.post(refresh_url(row), headers=htmx(target, page))
        html = answer.content.decode().strip()
        assert html.startswith(root)
        assert 'name="ids"' not in html


def test_two_clicks_make_one_renewal(staff_client: Client, make_install: Make) -> None:
    row = make_install()
    for _ in range(2):
        staff_client.post(refresh_url(row), headers=htmx(f"install-{row.pk}"))
    assert OrmQ.objects.count() == 1


def test_without_a_script_it_goes_back_with_a_message(
    staff_client: Client, make_install: Make
) -> None:
    row = make_install(name="Harbour Dental")
    back = "/installs/?state=healthy&sort=-name"
    answer = staff_client.post(refresh_url(row), {"next": back}, follow=True)
    assert answer.redirect_chain == [(back, 302)]
    assert "Refreshing Harbour Dental…" in answer.content.decode()


def test_it_does_not_redirect_to_other_sites(staff_client: Client, make_install: Make) -> None:
    answer = staff_client.post(refresh_url(make_install()), {"next": "https://evil.test/"})
    assert answer["Location"] == "/installs/"


def test_a_removed_account_is_left_alone(staff_client: Client, make_install: Make) -> None:
    row = make_install(status=Status.UNINSTALLED, name="Gone Ltd")
    answer = staff_client.post(refresh_url(row), headers=htmx(f"install-{row.pk}"))
    assert "nothing to refresh" in json.loads(answer["HX-Trigger"])["toast"]["text"]
    assert OrmQ.objects.count() == 0


def test_an_unknown_account_is_404(staff_client: Client) -> None:
    assert staff_client.post(f"/installs/{uuid.uuid4()}/refresh/").status_code == 404


def test_several_can_be_refreshed_at_once(staff_client: Client, make_install: Make) -> None:
    rows = [make_install(), make_install(), make_install(status=Status.UNINSTALLED)]
    ids = [str(row.pk) for row in rows] + ["garbage", str(uuid.uuid4())]
    answer = staff_client.post("/installs/refresh/", {"ids": ids}, headers=htmx("x"))
    assert answer.status_code == 204
    events = json.loads(answer["HX-Trigger"])
    assert "install-changed" in events
    assert events["toast"]["text"].startswith("Refreshing 2 accounts; 2 skipped")
    assert OrmQ.objects.count() == 2


def test_several_without_a_script_go_back_with_a_message(
    staff_client: Client, make_install: Make
) -> None:
    data = {"ids": [str(make_install().pk)], "next": "/installs/?page=1"}
    answer = staff_client.post("/installs/refresh/", data, follow=True)
    assert answer.redirect_chain == [("/installs/?page=1", 302)]
    assert "Refreshing 1 account…" in answer.content.decode()
    nothing = staff_client.post("/installs/refresh/", follow=True)
    assert "Tick the accounts to refresh first." in nothing.content.decode()
