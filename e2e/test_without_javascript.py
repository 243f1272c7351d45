"""Every link, form and action works in a browser that runs no script."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from e2e.people import consent_to_one_sub_account, install, install_one_sub_account, sign_in
from e2e.product import Product

STATE = ".account-head .state"


@pytest.fixture
def plain(product: Product, browser: Browser) -> Iterator[Page]:
    page = browser.new_page(base_url=product.url, java_script_enabled=False)
    yield page
    page.close()


def test_accounts_and_events_are_looked_after_without_a_script(
    product: Product, plain: Page
) -> None:
    agency = product.control("agencies", name="Plain Agency", locations=["Quiet Shop", "Calm Cafe"])
    sign_in(product, plain)
    install(product, plain, agency["id"])

    plain.goto("/installs/")
    plain.get_by_label("Search by name or any id").fill("Quiet")
    plain.get_by_role("button", name="Search").click()
    _reload_until(plain, ".list-count", "1 account found")
    plain.locator("a.install-name").click()
    _reload_until(plain, STATE, "Healthy")
    plain.get_by_role("button", name="Refresh now").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text("Quiet Shop")
    _reload_until(plain, STATE, "Healthy")

    plain.goto("/installs/?q=Quiet")
    plain.get_by_label("Select Quiet Shop").check()
    plain.get_by_role("button", name="Refresh selected").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text("Refresh 1 account?")
    plain.get_by_role("button", name="Refresh 1").click()
    expect(plain.get_by_role("heading", level=1)).to_contain_text(re.compile("of 1 (done|renewed)"))

    plain.goto("/events/")
    _reload_until(plain, ".event-row", "INSTALL")
    plain.locator(".event-row a.install-name").first.click()
    _reload_until(plain, STATE, "Processed")
    plain.get_by_role("button", name="Replay").click()
    expect(plain.locator("#toasts")).to_contain_text("is processed again")


def test_a_refused_account_is_mended_without_a_script(product: Product, plain: Page) -> None:
    agency = product.control("agencies", name="Silent Group", locations=["Soft Dental"])
    sign_in(product, plain)
    # Alone: the token of an installed agency would mend its sub-account by itself.
    plain.goto("/installs/")
    install_one_sub_account(plain, "Silent Group", "Soft Dental")
    _reload_until(plain, STATE, "Healthy")
    account = plain.url
    product.control("refuse", location_id=agency["locations"][0]["id"])
    plain.get_by_role("button", name="Refresh now").click()
    _reload_until(plain, STATE, "Needs reconnect")
    link = plain.locator(".account-actions").get_by_role("link", name="Reconnect link")
    expect(link).to_be_visible()
    plain.goto("/installs/?q=Soft")
    expect(plain.locator(".install-row").get_by_role("link", name="Reconnect link")).to_be_visible()

    plain.goto("/")
    item = plain.locator(".attention-item", has_text="Soft Dental")
    item.get_by_role("link", name="Reconnect link").click()
    consent_to_one_sub_account(plain, "Silent Group", "Soft Dental")
    plain.goto(account)
    _reload_until(plain, STATE, "Healthy")


def test_several_accounts_are_refreshed_and_snoozed_without_a_script(
    product: Product, plain: Page
) -> None:
    names = ["Hushed Gym", "Mute Dental"]
    agency = product.control("agencies", name="Still Agency", locations=names)
    sign_in(product, plain)
    install(product, plain, agency["id"])
    accounts = f"/installs/?agency={agency['id']}"
    plain.goto(f"{accounts}&state=healthy")
    _reload_until(plain, ".list-count", "3 accounts found")
    product.control("pause", location_id=agency["locations"][1]["id"])
    for name in names:
        plain.get_by_label(f"Select {name}").check()
    plain.get_by_role("button", name="Refresh selected").click()
    plain.get_by_role("button", name="Refresh 2").click()
    _reload_until(plain, "h1", "1 of 2 renewed")
    renewed = plain.get_by_role("region", name="Renewed", exact=True)
    expect(renewed.get_by_role("link")).to_have_text(["Hushed Gym"])
    rest = plain.get_by_role("region", name="Not renewed")
    expect(rest).to_contain_text("Mute Dental Failed: Paused by HighLevel")

    plain.goto(accounts)
    plain.get_by_label("Select Mute Dental").check()
    plain.get_by_role("button", name="Snooze…").click()
    plain.get_by_label("Why").fill("The client is told")
    plain.get_by_role("button", name="Snooze alerts about 1").click()
    expect(plain.locator("#toasts")).to_contain_text("No alerts about 1 account for a while.")
    plain.get_by_role("button", name="Undo").click()
    expect(plain.locator("#toasts")).to_contain_text("Its alerts come again.")


def test_a_key_is_made_and_disabled_without_a_script(product: Product, plain: Page) -> None:
    sign_in(product, plain)
    plain.goto("/keys/new/")
    plain.get_by_label("Name").fill("Shop")
    plain.get_by_label("See installs and their health").check()
    plain.get_by_role("button", name="Make the key").click()
    expect(plain.locator(".key-text")).to_have_text(re.compile("^wr_"))
    plain.get_by_role("link", name="I have it").click()
    plain.get_by_role("button", name="Disable key").click()
    expect(plain.locator(STATE)).to_have_text("disabled")
    plain.get_by_role("button", name="Undo: enable again").click()
    expect(plain.locator(STATE)).to_have_text("works")


def test_filters_are_folded_on_a_phone_and_open_without_a_script(
    product: Product, plain: Page
) -> None:
    sign_in(product, plain)
    plain.goto("/installs/")
    state = plain.get_by_label("State", exact=True)
    expect(state).to_be_visible()
    plain.set_viewport_size({"width": 390, "height": 844})
    expect(state).to_be_hidden()
    plain.get_by_text("Filters", exact=True).click()
    state.select_option("uninstalled")
    plain.get_by_role("button", name="Search").click()
    expect(plain.get_by_text("Filters (1)")).to_be_visible()


def _reload_until(page: Page, selector: str, text: str) -> None:
    """As a person does whose page does not renew itself."""
    for _ in range(40):
        if text in " ".join(page.locator(selector).all_inner_texts()):
            return
        page.wait_for_timeout(500)
        page.reload()
    expect(page.locator(selector)).to_contain_text(text)
