"""Steps that several journeys begin with."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from e2e.product import Product, manage

PASSWORD = "harbour-lantern-42"
SIGN_INS_ARE_OLD = """
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session

for row in Session.objects.all():
    session = SessionStore(row.session_key)
    for record in session.get("account_authentication_methods", []):
        record["at"] -= 3600
    session.modified = True
    session.save()
"""


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


def make_sign_ins_old(product: Product) -> None:
    """From now on everybody has to confirm who they are before what needs that."""
    manage(product.environ, "shell", "-c", SIGN_INS_ARE_OLD)


def confirm(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirm that it is you")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()


def install(product: Product, page: Page, company_id: str) -> None:
    """Install the app on an agency and all its sub-accounts, as HighLevel's marketplace does."""
    callback = f"{product.url}/app/callback/"
    answer = product.control("install", company_id=company_id, all=True, redirect_uri=callback)
    page.goto(answer["redirect_url"])
    expect(page.get_by_role("heading", name="Connected")).to_be_visible()


def install_one_sub_account(page: Page, agency: str, sub_account: str) -> None:
    """Install one sub-account alone, from the page that is open, through HighLevel's consent."""
    page.get_by_role("link", name=re.compile("^Install$")).click()
    consent_to_one_sub_account(page, agency, sub_account)


def consent_to_one_sub_account(page: Page, agency: str, sub_account: str) -> None:
    """On HighLevel's consent page, which shows all agencies first."""
    page.get_by_role("link", name=agency).click()
    page.get_by_label("As the user of one sub-account").check()
    page.locator("select[name=location_id]").select_option(label=sub_account)
    page.get_by_role("button", name="Allow & Install").click()


def open_account(page: Page, name: str, state: str = "Healthy") -> None:
    """Search the account, open its page and wait there until it is in this state."""
    page.goto("/installs/?q=" + name.replace(" ", "+"))
    page.get_by_role("link", name=name).first.click(timeout=30_000)
    expect(page.locator(".account-head .state")).to_have_text(state, timeout=30_000)


def _try(page: Page, password: str) -> bool:
    page.goto("/accounts/login/")
    page.get_by_label("Username or email").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    refused = page.locator(".form-problem")
    refused.or_(page.locator(".topbar, [name=oldpassword]")).first.wait_for()
    return refused.count() == 0
