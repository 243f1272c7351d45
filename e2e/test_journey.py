"""What a person does on the first day, from the one-time password to an account that left."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, Page, expect

from e2e.people import install_one_sub_account, sign_in
from e2e.product import Product


def test_from_sign_in_to_uninstall(
    product: Product, context: BrowserContext, page: Page, problems: list[str]
) -> None:
    sub_accounts = ["Harbour Dental", "Old Mill Bakery"]
    agency = product.control("agencies", name="Northwind Marketing", locations=sub_accounts)
    by_name = {location["name"]: location["id"] for location in agency["locations"]}

    sign_in(product, page)
    page.goto("/")
    expect(page.get_by_role("heading", name="No accounts yet")).to_be_visible()

    # A colleague watches the overview all the while; nobody reloads it.
    watcher = context.new_page()
    watcher.goto("/")
    watcher.evaluate("window.neverReloaded = true")

    setup = context.new_page()
    setup.goto("/setup/")
    setup.evaluate("window.neverReloaded = true")
    first_install = setup.locator("#check-first_install")
    expect(first_install).to_have_class(re.compile("tone-amber"))
    with setup.expect_response("**/setup/") as looked_again:
        first_install.get_by_role("link", name="Check again").click()
    assert looked_again.value.url == f"{product.url}/setup/"

    install_one_sub_account(page, "Northwind Marketing", "Harbour Dental")
    expect(page.get_by_role("heading", name="Harbour Dental")).to_be_visible(timeout=60_000)
    expect(page.locator(".account-head .state")).to_have_text("Healthy")

    row = watcher.locator("tr.install-row", has_text="Harbour Dental")
    expect(row.locator(".state")).to_have_text("Healthy", timeout=60_000)
    expect(watcher.get_by_role("heading", level=1)).to_have_text("Your one account is connected.")

    expect(first_install).to_have_class(re.compile("tone-green"))
    assert setup.evaluate("window.neverReloaded") is True
    setup.close()

    # HighLevel takes its time, so that there is something to see.
    product.control("knobs", latency_seconds=4)
    expires = row.locator('td[data-label="Expires"] time')
    first_expiry = expires.get_attribute("datetime")
    assert first_expiry
    row.get_by_role("button", name="Refresh now").click()
    expect(row.locator(".state")).to_have_text("Refreshing")
    expect(row.locator(".state")).to_have_text("Healthy", timeout=60_000)
    expect(expires).not_to_have_attribute("datetime", first_expiry)
    product.control("knobs", latency_seconds=0)

    product.control("uninstall", location_id=by_name["Harbour Dental"])
    expect(row.locator(".state")).to_have_text("Uninstalled", timeout=60_000)
    expect(watcher.get_by_role("heading", level=1)).to_have_text("No account is connected.")

    assert watcher.evaluate("window.neverReloaded") is True
    assert problems == []
