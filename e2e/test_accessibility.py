"""Every page meets WCAG 2.2 AA as far as a machine can judge, fits its screen, and runs clean.

Both themes, on a desk and on a phone. All other rules than contrast judge what no theme changes.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import AnonymousUser
from django.template.loader import render_to_string
from django.test import RequestFactory
from django.urls import resolve
from django.utils import timezone
from playwright.sync_api import Browser, Page, Route, expect

from access.audience import Who
from config.audiences import Address
from config.audiences import addresses as all_addresses
from dashboard.worker import Worker
from e2e.conftest import listen_for_problems
from e2e.furniture import furnish
from e2e.pages import FIXED, FOUND, SENT, addresses, send
from e2e.people import open_account, sign_in
from e2e.product import Product, manage
from integrations import heartbeat

AXE = (Path(__file__).parent / "vendor" / "axe-4.14.1.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# The wall screen is nobody's to touch: it renews itself as a clock does. Colours are judged as they
# are in the end: Django's admin fades its own from one theme to the other.
JUDGE = """async ([within, runOnly]) => {
  const wall = document.querySelector("body.wall") !== null;
  const rules = { "meta-refresh": { enabled: !wall } };
  const fades = document.getAnimations().filter((fade) => fade instanceof CSSTransition);
  for (const fade of fades) fade.finish();
  const { violations } = await axe.run(within, { runOnly, rules, resultTypes: ["violations"] });
  return violations.map(({ id, nodes: [node] }) =>
    `${id}: ${node.html.slice(0, 200)} ${node.failureSummary}`);
}"""
# Nobody tries for all before the test is over.
BEGIN_AN_OUTAGE = """
from datetime import timedelta
from django.utils import timezone
from integrations.models import Outage

now = timezone.now()
later = now + timedelta(hours=1)
Outage.objects.create(is_open=True, began_at=now, cause="server_error", try_at=later)
"""
END_IT = "from integrations.models import Outage; Outage.objects.all().delete()"
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
FOR_ANYBODY = {
    "sign-in": "/accounts/login/",
    "password-reset": "/accounts/password/reset/",
    "inactive": "/accounts/inactive/",
    "embedded": "/embedded/",
    "invitation-over": "/invitation/no-such-token/",
    "mail-link-over": "/alerts/link/no-such-token/",
    "not-found": "/no-such-page/",
}
WITH_A_FACTOR = "It needs a second factor, which would be asked for in the other journeys."
NOT_LOOKED_AT = {
    "account_set_password": "Everybody has a password; it leads to the page that changes it.",
    "mfa_deactivate_totp": WITH_A_FACTOR,
    "mfa_download_recovery_codes": WITH_A_FACTOR,
    "mfa_edit_webauthn": WITH_A_FACTOR,
    "mfa_reauthenticate": WITH_A_FACTOR,
    "mfa_reauthenticate_webauthn": WITH_A_FACTOR,
    "mfa_remove_webauthn": WITH_A_FACTOR,
    "mfa_view_recovery_codes": WITH_A_FACTOR,
    "dashboard:install-export": "A file.",
    "dashboard:scope-csv": "A file.",
    "dashboard:activity-export": "A file.",
    "dashboard:api-openapi": "A file.",
}


@pytest.fixture(scope="module")
def furniture(product: Product, browser: Browser) -> tuple[dict[str, str], dict[str, str]]:
    """{name: path} of every page for staff, when there is something on each, and of those for
    anybody."""
    page = browser.new_page(base_url=product.url)
    sign_in(product, page)
    links = furnish(product, page).links
    found = addresses(page)
    page.close()
    assert set(found) == {*FIXED, *FOUND}
    return found, {**FOR_ANYBODY, **links}


@pytest.mark.parametrize("size", SIZES)
def test_no_page_has_a_known_barrier(
    product: Product,
    browser: Browser,
    furniture: tuple[dict[str, str], dict[str, str]],
    size: str,
) -> None:
    pages, for_anybody = furniture
    width, height = SIZES[size]
    context = browser.new_context(
        base_url=product.url,
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
    )
    problems = listen_for_problems(context)
    page = context.new_page()
    page.route("**/error-page/*", _answer_with_an_error_page)
    for name in ("400", "403", "403_csrf", "500", "503"):
        problems += _faults(page, f"/error-page/{name}")
    for path in for_anybody.values():
        problems += _faults(page, path)
    sign_in(product, page)
    for path in pages.values():
        problems += _faults(page, path)
    for name, (on, end) in SENT.items():
        page.goto(pages[on])
        send(page, end)
        problems += _faults_of_open(page, name)
    context.close()
    # The browser's own word for the pages that are not there.
    said = [text for text in problems if "status of 404" not in text and "of 410" not in text]
    assert said == [], "\n".join(said)


@pytest.mark.parametrize("size", SIZES)
def test_what_opens_over_a_page_has_no_known_barrier(
    product: Product, browser: Browser, furniture: object, size: str
) -> None:
    width, height = SIZES[size]
    page = browser.new_page(
        base_url=product.url,
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
    )
    sign_in(product, page)
    open_account(page, "Green Gym")
    page.get_by_role("button", name="Reveal token").click()
    expect(page.get_by_role("dialog").locator(".reveal-token")).to_be_visible()
    faults = _faults_of_open(page, "a token that is shown")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keyboard-help")).to_be_visible()
    faults += _faults_of_open(page, "the keyboard's help")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    faults += _faults_of_open(page, "an offer to undo")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#toasts")).to_contain_text("Switched on again")

    page.goto("/installs/")
    for fold in page.locator("details").all():
        fold.evaluate("fold => { fold.open = true; }")
    for seen in (None, timezone.now()):
        page.locator("main").evaluate(
            "(main, html) => main.insertAdjacentHTML('afterbegin', html)", _banner(seen)
        )
    # What lies under an open menu is in nobody's reach.
    faults += _faults_of_open(page, "banners and menus", within=".banner, .menu-list")
    page.close()
    assert faults == [], "\n".join(faults)


@pytest.mark.parametrize("size", SIZES)
def test_the_banner_of_an_outage_has_no_known_barrier(
    product: Product, browser: Browser, furniture: object, size: str
) -> None:
    width, height = SIZES[size]
    page = browser.new_page(base_url=product.url, viewport={"width": width, "height": height})
    sign_in(product, page)
    manage(product.environ, "shell", "-c", BEGIN_AN_OUTAGE)
    try:
        page.goto("/")
        expect(page.locator(".banner", has_text="It concerns many accounts")).to_be_visible()
        page.get_by_role("button", name="Pause live updates").click()
        assert _faults_of_open(page, "an outage") == []
        expect(page.locator(".banner", has_text="It concerns many accounts")).to_be_visible()
    finally:
        manage(product.environ, "shell", "-c", END_IT)
        page.close()


def _banner(seen: datetime | None) -> str:
    """What stands above a page while the worker, last seen then, stands still."""
    worker = Worker(last_tick=seen, standing_still=heartbeat.PARTS, next_renewal=None)
    context = {"worker": worker, "now": timezone.now()}
    return render_to_string("dashboard/_worker_banner.html", context)


def test_no_page_of_the_admin_has_a_known_barrier(
    product: Product, browser: Browser, furniture: tuple[dict[str, str], dict[str, str]]
) -> None:
    width, height = SIZES["phone"]
    page = browser.new_page(base_url=product.url, viewport={"width": width, "height": height})
    sign_in(product, page)
    faults = _faults(page, "/admin/")
    lists = page.locator("#content-main tr a").evaluate_all("(all) => all.map((a) => a.pathname)")
    assert "/admin/integrations/gohighlevelintegration/" in lists
    for path in dict.fromkeys(lists):
        faults += _faults(page, path)
        first = page.locator("#result_list tbody a").first
        if first.count():
            faults += _faults(page, first.get_attribute("href") or "")
    page.close()
    assert faults == [], "\n".join(faults)


def test_each_page_for_staff_is_among_them(furniture: tuple[dict[str, str], object]) -> None:
    looked_at = {resolve(urlsplit(path).path).view_name for path in furniture[0].values()}
    shown = {
        address.name
        for address in all_addresses()
        if address.audience and address.audience.who is Who.STAFF and _is_page(address)
    }
    assert shown - looked_at == set(NOT_LOOKED_AT)


def _is_page(address: Address) -> bool:
    """Whether it is a whole page that a GET opens; those of the admin are found by its links."""
    if address.path.startswith(("/live/", "/admin/")):
        return False
    if not hasattr(address.pattern.callback, "audience"):
        return True
    request = RequestFactory().get("/")
    request.user, request.htmx = AnonymousUser(), False  # type: ignore[attr-defined]
    return address.pattern.callback(request).status_code != 405


def _answer_with_an_error_page(route: Route) -> None:
    """The pages of faults, which nothing provokes from outside."""
    name = route.request.url.rpartition("/")[2]
    route.fulfill(body=render_to_string(f"errors/{name}.html"), content_type="text/html")


def _faults(page: Page, path: str) -> list[str]:
    page.goto(path)
    return _faults_of_open(page, path)


def _faults_of_open(page: Page, path: str, within: str = "html") -> list[str]:
    page.emulate_media(color_scheme="light")
    expect(page.locator("h1").first).to_be_visible()
    for fold in page.locator("main details:not([data-menu])").all():
        fold.evaluate("fold => { fold.open = true; }")
    # Not as a script element: the page's policy would refuse it, and rightly.
    page.evaluate(AXE)
    found = page.evaluate(JUDGE, [within, RULES])
    page.emulate_media(color_scheme="dark")
    found += page.evaluate(JUDGE, [within, ["color-contrast"]])
    said = [f"{path} {fault}" for fault in found]
    fits = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return said if fits else [*said, f"{path} is wider than the screen"]
