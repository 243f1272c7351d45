"""People and what they are trusted with: a passkey, a token looked at, the page in HighLevel."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from e2e.people import (
    PASSWORD,
    confirm,
    install,
    make_sign_ins_old,
    open_account,
    sign_in,
)
from e2e.product import Product
from integrations.tests.test_sso import PERSON, encrypt


def test_a_token_is_shown_for_half_a_minute_and_then_gone(
    product: Product, page: Page, problems: list[str]
) -> None:
    agency = product.control("agencies", name="Northwind Marketing", locations=["Harbour Dental"])
    sign_in(product, page)
    install(product, page, agency["id"])
    open_account(page, "Harbour Dental")
    make_sign_ins_old(product)
    page.get_by_role("button", name="Reveal token").click()
    confirm(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Harbour Dental")

    page.clock.install()
    page.get_by_role("button", name="Reveal token").click()
    dialog = page.get_by_role("dialog")
    token = dialog.locator(".reveal-token")
    expect(token).to_have_text(re.compile(r"^\S{20,}$"))
    text = token.inner_text()
    page.clock.run_for(10_000)
    expect(dialog).to_contain_text("Hidden again in 20 s.")
    _copy_as_over_plain_http(page, dialog, text)
    page.clock.run_for(21_000)
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert text not in page.content()

    page.goto("/activity/")
    reveal = page.locator("tr", has_text="Reveal an access token")
    expect(reveal.first).to_contain_text("Harbour Dental")
    assert problems == []


def _copy_as_over_plain_http(page: Page, dialog: Locator, text: str) -> None:
    """There browsers have no clipboard for scripts; the button says what came of it."""
    page.context.grant_permissions(["clipboard-read"])
    page.evaluate(
        "window.clipboard = navigator.clipboard;"
        "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
    )
    button = dialog.locator("[data-copy]")
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("clipboard.readText()") == text
    page.clock.run_for(2000)
    page.evaluate("document.execCommand = () => false")
    button.click()
    expect(button).to_have_text("Could not copy")
    expect(button).to_be_focused()


def test_an_invited_person_comes_in_by_the_link(
    product: Product, page: Page, context: BrowserContext, problems: list[str]
) -> None:
    sign_in(product, page)
    page.goto("/people/")
    page.get_by_role("link", name="Invite").click()
    page.get_by_label("Name").fill("nora")
    page.get_by_label("Role").select_option("Operator")
    page.get_by_role("button", name="Make the link").click()
    link = page.locator("pre.code").inner_text()

    assert context.browser is not None
    other = context.browser.new_context(base_url=product.url)
    newcomer = other.new_page()
    newcomer.goto(link)
    newcomer.get_by_label("Password", exact=True).fill(PASSWORD)
    newcomer.get_by_label("Password again").fill(PASSWORD)
    newcomer.get_by_role("button", name="Begin").click()
    expect(newcomer.locator(".user-name")).to_have_text("nora")
    newcomer.goto(link)
    expect(newcomer.get_by_role("heading", level=1)).to_have_text("This link opens nothing")
    other.close()
    assert problems == []


def test_a_passkey_signs_in_without_a_password(
    product: Product, page: Page, context: BrowserContext, problems: list[str]
) -> None:
    device = context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    device.send("WebAuthn.addVirtualAuthenticator", {"options": options})

    sign_in(product, page)
    page.goto("/accounts/2fa/webauthn/add/")
    page.get_by_label(re.compile("Sign in with it alone")).check()
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()

    context.clear_cookies()
    page.goto("/accounts/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.locator(".user-name")).to_have_text("admin")

    # The journeys after this one sign in by password alone.
    page.goto("/accounts/2fa/webauthn/")
    page.get_by_role("link", name="Remove").click()
    page.get_by_role("button", name="Remove").click()
    assert problems == []


def test_the_page_inside_highlevel_shows_the_agencys_accounts(product: Product, page: Page) -> None:
    """A page on HighLevel's host that answers as HighLevel's does."""
    agency = product.control("agencies", name="Southwind Media", locations=["Old Mill Bakery"])
    sign_in(product, page)
    install(product, page, agency["id"])
    # The page shows what is there when it is opened.
    open_account(page, "Old Mill Bakery")
    payload = encrypt(PERSON | {"companyId": agency["id"]})

    def answer(route: Route) -> None:
        frame = (
            f'<iframe id="custom" src="{product.url}/embedded/" width="900" height="500"></iframe>'
        )
        script = f"""<script>addEventListener("message", (event) => {{
          if (event.data.message === "REQUEST_USER_DATA") event.source.postMessage(
            {{message: "REQUEST_USER_DATA_RESPONSE", payload: "{payload}"}}, "*");
        }});</script>"""
        route.fulfill(content_type="text/html", body=f"<body>{script}{frame}</body>")

    for host in ("app.gohighlevel.com", "evil.example"):
        page.route(f"https://{host}/**", answer)
    page.goto("https://app.gohighlevel.com/v2/custom-page")
    expect(page.frame_locator("#custom").get_by_text("Old Mill Bakery").first).to_be_visible()

    page.goto("https://evil.example/")
    frame = page.frame_locator("#custom")
    expect(frame.get_by_text("Old Mill Bakery")).to_have_count(0)
    expect(frame.get_by_text("Asking HighLevel")).to_have_count(0)
