"""Steps that several journeys begin with."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from e2e.conftest import Product

PASSWORD = "harbour-lantern-42"


def sign_in(product: Product, page: Page) -> None:
    """Sign in; whoever comes first has the one-time password and chooses an own one."""
    if _try(page, PASSWORD):
        return
    assert _try(page, product.password)
    expect(page.get_by_role("heading", name="Choose your own password")).to_be_visible()
    page.get_by_label("Current Password").fill(product.password)
    page.get_by_label("New Password", exact=True).fill(PASSWORD)
    page.get_by_label("New Password (again)").fill(PASSWORD)
    page.get_by_role("button", name="Save the new password").click()
    expect(page.get_by_text("Password successfully changed.")).to_be_visible()


def install(product: Product, page: Page, company_id: str) -> None:
    """Install the app on an agency and all its sub-accounts, as HighLevel's marketplace does."""
    callback = f"{product.url}/app/callback/"
    answer = product.control("install", company_id=company_id, all=True, redirect_uri=callback)
    page.goto(answer["redirect_url"])
    expect(page.get_by_role("heading", name="Connected")).to_be_visible()


def _try(page: Page, password: str) -> bool:
    page.goto("/accounts/login/")
    page.get_by_label("Username or email").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    refused = page.locator(".form-problem")
    refused.or_(page.locator(".topbar, [name=oldpassword]")).first.wait_for()
    return refused.count() == 0
