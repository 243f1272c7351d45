"""What agency staff do on an ordinary day, with real clicks."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

from playwright.sync_api import Browser, Locator, Page, expect

from e2e.people import (
    PASSWORD,
    confirm,
    consent_to_one_sub_account,
    install,
    install_one_sub_account,
    make_sign_ins_old,
    open_account,
    sign_in,
)
from e2e.product import Product


def test_a_refused_account_is_seen_and_mended_by_the_link(
    product: Product, page: Page, problems: list[str]
) -> None:
    agency = product.control("agencies", name="Lighthouse Group", locations=["Lamp Dental"])
    location = agency["locations"][0]["id"]
    sign_in(product, page)
    # Alone: the token of an installed agency would mend its sub-account by itself.
    page.goto("/installs/")
    install_one_sub_account(page, "Lighthouse Group", "Lamp Dental")
    expect(page.locator(".account-head .state")).to_have_text("Healthy", timeout=60_000)
    product.control("refuse", location_id=location)
    page.get_by_role("button", name="Refresh now").click()
    expect(page.locator(".account-head .state")).to_have_text("Needs reconnect", timeout=60_000)

    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 account needs you")
    item = page.locator(".attention-item", has_text="Lamp Dental")
    expect(item).to_contain_text("Who acts")
    button = item.get_by_role("button")
    expect(button).to_have_text("Copy reconnect link")
    link, place = button.get_attribute("data-copy"), button.bounding_box()
    assert link
    button.click()
    expect(button).to_have_text("Copied")
    assert button.bounding_box() == place

    page.goto(link)
    consent_to_one_sub_account(page, "Lighthouse Group", "Lamp Dental")
    expect(page.locator(".account-head .state")).to_have_text("Healthy", timeout=60_000)
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your one account is connected.")
    assert problems == []


def test_a_morning_look_goes_from_the_sentence_to_the_account(
    product: Product, page: Page, problems: list[str]
) -> None:
    names = ["Amber Dental", "Bronze Bakery", "Copper Gym"]
    agency = product.control("agencies", name="Metal Agency", locations=names)
    sign_in(product, page)
    install(product, page, agency["id"])
    for name in names:
        open_account(page, name)
    product.control("uninstall", location_id=agency["locations"][1]["id"])
    open_account(page, "Bronze Bakery", "Uninstalled")

    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("connected")
    expect(page.get_by_text("If renewals stopped now").first).to_be_visible()
    # A worker that has just begun shows itself within a minute.
    expect(page.locator(".system-line")).to_contain_text("Worker running", timeout=120_000)
    page.locator("a.tile", has_text="Off").click()
    expect(page.locator(".list-count")).to_contain_text("1 account found")
    page.get_by_role("link", name="Bronze Bakery").click()
    expect(page.locator(".account-head")).to_contain_text("Uninstalled")
    page.go_back()
    expect(page.locator(".list-count")).to_contain_text("1 account found")
    page.get_by_role("link", name="Clear filter").first.click()
    expect(page.locator("tr.install-row", has_text="Amber Dental")).to_be_visible()
    assert problems == []


def test_two_hundred_accounts_are_refreshed_together_and_the_page_counts(
    product: Product, page: Page, problems: list[str]
) -> None:
    names = [f"Crowd {n:03}" for n in range(200)]
    agency = product.control("agencies", name="Crowd Agency", locations=names)
    sign_in(product, page)
    install(product, page, agency["id"])
    page.goto(f"/installs/?agency={agency['id']}&state=healthy")
    expect(page.locator(".list-count")).to_contain_text("201 accounts", timeout=120_000)

    # Slow enough to be watched.
    product.control("knobs", latency_seconds=0.5)
    page.get_by_label("Select all on this page").check()
    page.get_by_label("All 201 matching").check()
    page.get_by_role("button", name="Refresh selected (201)").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Refresh 201 accounts?")
    page.get_by_role("button", name="Refresh 201").click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(re.compile(r"^[1-9]\d* of 201 done$"), timeout=120_000)
    waiting = page.get_by_role("region", name="Not renewed").locator(".journal-line")
    before = waiting.count()
    expect(waiting).not_to_have_count(before, timeout=120_000)
    product.control("knobs", latency_seconds=0)
    expect(heading).to_have_text("201 of 201 renewed", timeout=120_000)
    expect(waiting).to_have_count(0)
    expect(page.get_by_role("region", name="Renewed", exact=True)).to_contain_text("Crowd")
    assert problems == []


def test_an_event_is_replayed(product: Product, page: Page, problems: list[str]) -> None:
    agency = product.control("agencies", name="Southwind Media", locations=["Old Mill Bakery"])
    sign_in(product, page)
    install(product, page, agency["id"])
    page.goto("/events/")
    expect(page.locator(".event-row").first).to_be_visible(timeout=60_000)
    page.locator(".event-row a.install-name").first.click()
    expect(page.locator(".account-head .state")).to_have_text("Processed", timeout=60_000)
    page.get_by_role("button", name="Replay").click()
    expect(page.locator("#toasts")).to_contain_text("is processed again")
    expect(page.locator(".account-head .state")).to_have_text("Processed", timeout=60_000)
    page.goto("/activity/")
    expect(page.locator("tr", has_text="Replay an event").first).to_be_visible()
    assert problems == []


def test_a_key_is_shown_once_works_and_stops_when_it_is_disabled(
    product: Product, page: Page, problems: list[str]
) -> None:
    sign_in(product, page)
    make_sign_ins_old(product)
    page.goto("/keys/new/")
    confirm(page)
    page.get_by_label("Name").fill("Billing")
    page.get_by_label("See installs and their health").check()
    page.get_by_role("button", name="Make the key").click()
    key = page.locator(".key-text").inner_text().strip()
    assert _status(product, key) == 200

    page.get_by_role("link", name="I have it").click()
    assert key not in page.content()
    page.get_by_role("button", name="Disable key").click()
    expect(page.locator(".account-head")).to_contain_text("disabled")
    assert _status(product, key) == 401
    assert problems == []


def test_a_sign_in_that_ended_in_mid_work_leads_back_to_the_work(
    product: Product, page: Page
) -> None:
    agency = product.control("agencies", name="Eastwind", locations=["Green Gym"])
    sign_in(product, page)
    install(product, page, agency["id"])
    page.goto(f"/installs/?agency={agency['id']}")
    page.context.clear_cookies()
    page.locator("thead a").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("Username or email").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Accounts")
    assert agency["id"] in page.url


def test_a_second_browser_sees_the_change_within_six_seconds(
    product: Product, page: Page, browser: Browser
) -> None:
    agency = product.control("agencies", name="Westwind", locations=["Blue Salon"])
    sign_in(product, page)
    install(product, page, agency["id"])
    open_account(page, "Blue Salon", "Healthy")

    other = browser.new_page(base_url=product.url)
    sign_in(product, other)
    other.goto("/installs/?q=Blue+Salon")
    row = other.locator("tr.install-row", has_text="Blue Salon")
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    expect(row.locator(".state")).not_to_have_text("Healthy", timeout=6000)

    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#toasts")).to_contain_text("witched on again")
    expect(row.locator(".state")).to_have_text("Healthy", timeout=60_000)
    other.close()


def test_the_keyboard_is_enough(product: Product, page: Page, problems: list[str]) -> None:
    names = ["Alpha Dental", "Beta Dental"]
    agency = product.control("agencies", name="Keys Agency", locations=names)
    sign_in(product, page)
    install(product, page, agency["id"])
    open_account(page, "Alpha Dental", "Healthy")
    open_account(page, "Beta Dental", "Healthy")
    page.goto(f"/installs/?agency={agency['id']}")
    page.keyboard.press("/")
    page.keyboard.type("Dental")
    expect(page.locator(".list-count")).to_contain_text("2 accounts found")
    # Past the list of states, where letters choose.
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("[data-row].is-current")).to_contain_text("Beta Dental")
    page.keyboard.press("k")
    page.keyboard.press("x")
    expect(page.locator("[data-tick]:checked")).to_have_count(1)
    page.keyboard.press("r")
    expect(page.locator("#toasts")).to_contain_text("Refreshing")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Alpha Dental")
    # A page's scripts come after its words.
    page.wait_for_load_state()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("h")
    expect(page.locator("#headline")).to_be_visible()
    assert problems == []


def test_many_are_switched_off_and_on_again_by_keyboard_alone(
    product: Product, page: Page, problems: list[str]
) -> None:
    names = ["Gamma Dental", "Delta Dental"]
    agency = product.control("agencies", name="Tab Agency", locations=names)
    sign_in(product, page)
    install(product, page, agency["id"])
    open_account(page, "Gamma Dental", "Healthy")
    open_account(page, "Delta Dental", "Healthy")

    page.goto("/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    _tab_back_to(page, page.locator("summary.nav-more"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Bulk renewals")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Bulk renewals")).to_be_hidden()
    expect(page.locator("summary.nav-more")).to_be_focused()

    page.goto(f"/installs/?agency={agency['id']}&q=Dental")
    for key in "jxjx":
        page.keyboard.press(key)
    expect(page.locator("[data-tick]:checked")).to_have_count(2)
    _tab_back_to(page, page.get_by_role("button", name="Switch off…"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Switch off 2 accounts?")
    expect(page.locator("main")).to_contain_text("Delta Dental, Gamma Dental")
    _tab_to(page, page.get_by_role("button", name="Switch off 2"))
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("2 accounts switched off.")
    _tab_back_to(page, page.get_by_role("button", name="Undo"))
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("2 switched on again.")
    page.goto(f"/installs/?agency={agency['id']}&q=Dental")
    states = page.locator("tr.install-row .state")
    expect(states).to_have_text(["Healthy", "Healthy"])
    assert problems == []


def test_a_newcomer_finds_what_is_in_order_and_what_is_not(product: Product, page: Page) -> None:
    sign_in(product, page)
    page.goto("/setup/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Setup")
    expect(page.locator(".check-line").first).to_be_visible()
    mended = page.locator(".check-line", has_text="(in order)").count()
    agency = product.control("agencies", name="First Agency", locations=["First Account"])
    install(product, page, agency["id"])
    open_account(page, "First Account", "Healthy")
    page.goto("/setup/")
    assert page.locator(".check-line", has_text="(in order)").count() >= mended
    expect(page.locator(".check-line", has_text="(look at it)").first).to_contain_text(
        "Check again"
    )


def _tab_to(page: Page, wanted: Locator, key: str = "Tab") -> None:
    """Press the key until it comes there, as somebody does who has no mouse."""
    for _ in range(80):
        page.keyboard.press(key)
        if wanted.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"{wanted} is not reached by {key}")


def _tab_back_to(page: Page, wanted: Locator) -> None:
    _tab_to(page, wanted, "Shift+Tab")


def _status(product: Product, key: str) -> int:
    """What a back end that calls with this key is answered."""
    request = urllib.request.Request(  # noqa: S310 - our own address
        f"{product.url}/app/list/", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
