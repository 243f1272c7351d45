"""Live parts leave alone what the person is doing, and say when they cannot be trusted."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from playwright.sync_api import Page, Route, expect

from e2e.people import (
    consent_to_one_sub_account,
    install,
    install_one_sub_account,
    sign_in,
)
from e2e.product import Product, manage


def test_a_hundred_ticks_take_nothing_from_the_persons_hands(product: Product, page: Page) -> None:
    sign_in(product, page)
    names = [f"Live Account {n:02}" for n in range(30)]
    agency = product.control("agencies", name="Tick Tock Agency", locations=names)
    install(product, page, agency["id"])

    page.goto(f"/installs/?agency={agency['id']}&per_page=50")
    # The agency and its sub-accounts.
    expect(page.locator("tr.install-row .state", has_text="Healthy")).to_have_count(
        31, timeout=60_000
    )
    row = page.locator("tr.install-row").nth(3)
    tick = row.get_by_role("checkbox")
    tick.check()
    row.get_by_role("button", name="Refresh now").focus()
    _select_text(page, "tr.install-row:nth-child(6) .install-name")
    page.evaluate("window.scrollTo(0, 400)")
    before = _scroll_focus_and_selection(page)
    _tick(page, times=100)
    assert _scroll_focus_and_selection(page) == before
    expect(tick).to_be_checked()
    expect(page.locator("[data-tick]:checked")).to_have_count(1)

    row.get_by_role("link").first.click()
    fold = page.locator("#developers")
    fold.locator("summary").click()
    page.get_by_role("button", name="Refresh now").focus()
    _select_text(page, "#developers .code-title:first-of-type")
    page.evaluate("window.scrollTo(0, 300)")
    before = _scroll_focus_and_selection(page)
    _tick(page, times=100)
    assert _scroll_focus_and_selection(page) == before
    expect(fold).to_have_attribute("open", "")


def test_ticked_rows_hold_the_polling_and_are_refreshed_together(
    product: Product, page: Page
) -> None:
    sign_in(product, page)
    names = [f"Bulk Account {n}" for n in range(3)]
    agency = product.control("agencies", name="Bulk Agency", locations=names)
    install(product, page, agency["id"])
    page.goto(f"/installs/?agency={agency['id']}")
    healthy = page.locator("tr.install-row .state", has_text="Healthy")
    expect(healthy).to_have_count(4, timeout=60_000)

    _tick(page, times=1)
    expect(page.locator("[data-bulk-button]").first).to_be_hidden()
    page.get_by_label("Select all on this page").check()
    button = page.get_by_role("button", name="Refresh selected (4)")
    page.set_viewport_size({"width": 1280, "height": 360})
    page.evaluate("scrollTo(0, 400)")
    expect(healthy.last).to_be_in_viewport()
    expect(button).to_be_in_viewport()
    button.click()
    expect(page.locator("#toasts")).to_contain_text("Refreshing 4 accounts…")
    expect(page.locator("[data-tick]:checked")).to_have_count(0)
    expect(healthy).to_have_count(4, timeout=30_000)


def test_title_and_favicon_of_every_tab_follow_the_worst_account(
    product: Product, page: Page
) -> None:
    agency = product.control("agencies", name="Worst Agency", locations=["Worst Dental"])
    location = agency["locations"][0]["id"]
    sign_in(product, page)
    # Alone: the token of an installed agency would mend its sub-account by itself.
    page.goto("/installs/")
    install_one_sub_account(page, "Worst Agency", "Worst Dental")
    state = page.locator(".account-head .state")
    expect(state).to_have_text("Healthy", timeout=60_000)
    overview, jobs, keys, hidden = (page.context.new_page() for _ in range(4))
    titles = {overview: "Overview", jobs: "Bulk renewals", keys: "API keys", hidden: "Accounts"}
    for tab in (keys, hidden):
        tab.clock.install()
    for tab, path in zip(titles, ("/", "/jobs/", "/keys/", "/installs/"), strict=True):
        tab.goto(path)
    _set_hidden(hidden, hidden=True)

    def all_say(count: str, colour: str) -> None:
        # What polls nothing asks once a minute.
        for tab in (keys, hidden):
            tab.clock.fast_forward(66_000)
        for tab, title in titles.items():
            expect(tab).to_have_title(f"{count}{title} · WhatReach")
            icon = re.compile(rf"favicon-{colour}\b")
            expect(tab.locator("#favicon")).to_have_attribute("href", icon)

    all_say("", "green")
    product.control("refuse", location_id=location)
    page.get_by_role("button", name="Refresh now").click()
    expect(state).to_have_text("Needs reconnect", timeout=60_000)
    all_say("(1) ", "red")
    page.goto("/app/install/")
    consent_to_one_sub_account(page, "Worst Agency", "Worst Dental")
    expect(state).to_have_text("Healthy", timeout=60_000)
    all_say("", "green")


def test_a_click_shows_refreshing_at_once_and_its_result_within_a_second(
    product: Product, page: Page
) -> None:
    sign_in(product, page)
    agency = product.control("agencies", name="Click Agency", locations=[])
    install(product, page, agency["id"])
    page.clock.install()
    page.goto(f"/installs/?agency={agency['id']}")
    state = page.locator("tr.install-row .state")
    expect(state).to_have_text("Healthy", timeout=60_000)
    # HighLevel takes its time; who has clicked is not left waiting.
    product.control("knobs", latency_seconds=6)
    page.get_by_role("button", name="Refresh now").click()
    expect(state).to_have_text("Refreshing", timeout=1000)
    product.control("knobs", latency_seconds=0)
    page.evaluate("document.body.addEventListener('tick', () => { window.ticks += 1; })")
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
    assert _ticks_within(page, 3) > 3
    page.clock.resume()
    expect(state).to_have_text("Healthy")


def test_a_slow_answer_to_a_click_is_seen_to_be_on_its_way(product: Product, page: Page) -> None:
    sign_in(product, page)
    page.goto("/installs/")
    waiting: list[Route] = []
    page.route("**/installs/?**", lambda route: waiting.append(route))
    bar = "getComputedStyle(document.body, '::after').content"
    with page.expect_request("**/live/installs/**"):
        page.evaluate("htmx.trigger(document.body, 'tick')")
    assert page.evaluate(bar) == "none"
    with page.expect_request("**/installs/?state=paused"):
        page.get_by_label("State", exact=True).select_option("paused")
    expect(page.locator("#filter.htmx-request")).to_be_visible()
    assert page.evaluate(bar) != "none"
    for route in waiting:
        route.continue_()
    expect(page.locator("#filter.htmx-request")).to_have_count(0)
    assert page.evaluate(bar) == "none"


def test_polling_waits_while_the_person_is_busy_or_away(product: Product, page: Page) -> None:
    sign_in(product, page)
    agency = product.control("agencies", name="Held Agency", locations=[])
    install(product, page, agency["id"])
    page.clock.install(time="2026-01-01T08:00:00Z")
    page.goto(f"/installs/?agency={agency['id']}")
    tick = page.get_by_label("Select Held Agency")
    tick.wait_for()
    page.evaluate("document.body.addEventListener('tick', () => { window.ticks += 1; })")
    page.clock.pause_at("2026-01-01T09:00:00Z")

    page.mouse.move(5, 5)
    assert 4 <= _ticks_within(page, 20) <= 6
    tick.check()
    assert _ticks_within(page, 50) == 0
    tick.uncheck()
    assert _ticks_within(page, 8) > 0
    page.keyboard.press("?")
    assert _ticks_within(page, 50) == 0
    page.keyboard.press("Escape")
    assert _ticks_within(page, 8) > 0
    page.get_by_text("Columns", exact=True).first.click()
    assert _ticks_within(page, 50) == 0
    page.keyboard.press("Escape")
    assert _ticks_within(page, 8) > 0
    _set_hidden(page, hidden=True)
    assert _ticks_within(page, 50) == 0
    _set_hidden(page, hidden=False)
    # At once: who comes back sees how it is now.
    assert page.evaluate("window.ticks") == 1
    page.clock.run_for(60_000)
    assert 1 <= _ticks_within(page, 120) <= 2


def test_rows_keep_their_places_while_the_pointer_is_on_them(product: Product, page: Page) -> None:
    sign_in(product, page)
    names = ["Pointed Able", "Pointed Baker"]
    agency = product.control("agencies", name="Pointed Agency", locations=names)
    install(product, page, agency["id"])
    page.goto(f"/installs/?agency={agency['id']}&sort=name")
    shown = page.locator("tr.install-row .install-name")
    expect(shown).to_have_text(["Pointed Able", "Pointed Agency", "Pointed Baker"], timeout=60_000)
    shown.first.hover()
    rename = "GoHighLevelIntegration.objects.filter(name='Pointed Baker').update(name='A Baker')"
    imported = "from integrations.models import GoHighLevelIntegration"
    manage(product.environ, "shell", "-c", f"{imported}; {rename}")
    _tick(page, times=2)
    expect(shown).to_have_text(["Pointed Able", "Pointed Agency", "Pointed Baker"])
    page.mouse.move(0, 0)
    _tick(page, times=1)
    expect(shown).to_have_text(["A Baker", "Pointed Able", "Pointed Agency"])


def test_a_lost_connection_is_said_with_the_time_of_the_data(product: Product, page: Page) -> None:
    sign_in(product, page)
    _choose_zone(page, "Asia/Kolkata")
    page.goto("/")
    line = page.locator("[data-live-text]")
    expect(line).to_have_text(re.compile(r"Live · updated \d+ s ago"))
    page.context.set_offline(True)
    _tick(page, times=1)
    expect(line).to_have_text(re.compile(r"Connection lost, data from \d\d:\d\d IST"))
    there = datetime.now(ZoneInfo("Asia/Kolkata"))
    told = line.inner_text().split()[-2]
    assert told in {f"{moment:%H:%M}" for moment in (there, there - timedelta(minutes=1))}
    page.context.set_offline(False)
    _tick(page, times=1)
    expect(line).to_have_text(re.compile(r"Live · updated"))
    _choose_zone(page, "")


def test_a_search_is_made_once_also_when_the_field_is_left(product: Product, page: Page) -> None:
    sign_in(product, page)
    page.goto("/installs/")
    page.get_by_role("button", name="Pause live updates").click()
    searches: list[str] = []
    page.on("request", lambda request: searches.append(request.url))
    with page.expect_response("**/installs/?q=nothing*"):
        page.get_by_label("Search by name or any id").fill("nothing like it")
    page.keyboard.press("Tab")
    # A second one would be under way before the page answers this.
    page.evaluate("fetch('/healthz')")
    assert [url for url in searches if "q=nothing" in url] == searches[:1]


def test_on_a_phone_the_button_of_the_filters_counts_those_that_are_set(
    product: Product, page: Page
) -> None:
    sign_in(product, page)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/installs/?used=never")
    page.get_by_text("Filters (1)", exact=True).click()
    state = page.get_by_label("State", exact=True)
    state.select_option("healthy")
    expect(page.get_by_text("Filters (2)", exact=True)).to_be_visible()
    state.select_option("")
    expect(page.get_by_text("Filters (1)", exact=True)).to_be_visible()


def test_a_pause_stops_the_polling(product: Product, page: Page) -> None:
    sign_in(product, page)
    page.goto("/")
    page.get_by_role("button", name="Pause live updates").click()
    expect(page.locator("[data-live-text]")).to_have_text(re.compile("^Paused"))
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url))
    page.wait_for_timeout(6000)
    assert polls == []


def test_the_theme_is_remembered(product: Product, page: Page) -> None:
    sign_in(product, page)
    page.goto("/")
    root = page.locator("html")
    for theme in ("light", "dark"):
        page.locator("[data-theme-switch]").click()
        expect(root).to_have_attribute("data-bs-theme", theme)
    page.reload()
    expect(root).to_have_attribute("data-bs-theme", "dark")


def test_the_theme_is_the_same_in_the_admin(
    product: Product, page: Page, problems: list[str]
) -> None:
    """Both keep it in one place of the browser."""
    sign_in(product, page)
    page.emulate_media(color_scheme="dark")
    page.goto("/admin/")
    page.goto("/")
    root, button = page.locator("html"), page.locator("[data-theme-switch]")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    expect(button).to_have_attribute("title", "Theme: system")
    button.click()
    expect(button).to_have_attribute("title", "Theme: light")
    page.goto("/admin/")
    expect(root).to_have_attribute("data-theme", "light")
    assert problems == []


def test_a_dark_page_is_printed_dark_on_white_and_without_its_buttons(
    product: Product, page: Page
) -> None:
    sign_in(product, page)
    page.emulate_media(color_scheme="dark")
    page.goto("/installs/")
    root, buttons = page.locator("html"), page.locator(".topbar, main .btn")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.emulate_media(media="print")
    expect(root).to_have_attribute("data-bs-theme", "light")
    expect(buttons.filter(visible=True)).to_have_count(0)
    expect(page.get_by_role("heading", name="Accounts", exact=True)).to_be_visible()
    page.emulate_media(media="screen")
    expect(root).to_have_attribute("data-bs-theme", "dark")


def _choose_zone(page: Page, zone: str) -> None:
    page.goto("/me/")
    page.locator("[name=time_zone]").select_option(zone)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#toasts")).to_contain_text("Times are shown in")


def _tick(page: Page, *, times: int) -> None:
    """Have the panels poll so often, each time to its end and with the whole panel as answer."""
    page.evaluate(
        """async (times) => {
            document.body.addEventListener("htmx:configRequest", (event) => {
                delete event.detail.headers["X-Panel-Version"];
            });
            for (let n = 0; n < times; n++) {
                const done = new Promise((resolve) =>
                    document.body.addEventListener("htmx:afterOnLoad", resolve, { once: true }));
                const failed = new Promise((resolve) =>
                    document.body.addEventListener("htmx:sendError", resolve, { once: true }));
                htmx.trigger(document.body, "tick");
                await Promise.race([done, failed]);
            }
        }""",
        times,
    )


def _ticks_within(page: Page, seconds: int) -> int:
    """How often the panels would poll in this time, which passes at once."""
    page.evaluate("window.ticks = 0")
    page.clock.run_for(seconds * 1000)
    ticks: int = page.evaluate("window.ticks")
    return ticks


def _set_hidden(page: Page, *, hidden: bool) -> None:
    """As the browser says it when another tab is chosen."""
    page.evaluate(
        """(value) => {
            Object.defineProperty(document, "hidden", { value, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def _select_text(page: Page, selector: str) -> None:
    page.locator(selector).evaluate("element => getSelection().selectAllChildren(element)")


def _scroll_focus_and_selection(page: Page) -> list[object]:
    place: list[object] = page.evaluate(
        "[scrollY, document.activeElement.outerHTML, getSelection().toString()]"
    )
    assert all(place)
    return place
