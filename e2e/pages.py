"""Every page of the product by a name, for the tests that look at all of them and for pictures."""

from __future__ import annotations

from playwright.sync_api import Page

# Those whose address is always the same.
FIXED = {
    "overview": "/",
    "accounts": "/installs/",
    "accounts-filtered": "/installs/?state=needs_you",
    "accounts-by-agency": "/installs/?group=agency",
    "accounts-nothing-found": "/installs/?q=nothing+like+it",
    "agencies": "/agencies/",
    "permissions": "/permissions/",
    "events": "/events/",
    "event-figures": "/events/figures/",
    "alerts": "/alerts/",
    "endpoints": "/endpoints/",
    "jobs": "/jobs/",
    "keys": "/keys/",
    "key-new": "/keys/new/",
    "people": "/people/",
    "activity": "/activity/",
    "encryption": "/encryption/",
    "api-docs": "/api/docs",
    "my-account": "/me/",
    "help": "/help/",
    "system": "/system/",
    "setup": "/setup/",
    "status-links": "/status-links/",
    "password": "/accounts/password/change/",
    "second-factor": "/accounts/2fa/",
    "authenticator": "/accounts/2fa/totp/activate/",
    "passkeys": "/accounts/2fa/webauthn/",
    "passkey-new": "/accounts/2fa/webauthn/add/",
    "recovery-codes": "/accounts/2fa/recovery-codes/generate/",
    "sessions": "/accounts/sessions/",
    "confirm-it-is-you": "/accounts/reauthenticate/",
    "sign-out": "/accounts/logout/",
    "endpoint-new": "/endpoints/new/",
    "channel-new": "/alerts/channels/new/",
    "person-new": "/people/invite/",
    "events-preview": "/events/replay/?all=1",
    "accounts-preview": "/installs/bulk/?all=1&action=deactivate",
    "admin": "/admin/",
}
# Those that are found by following the first link of that kind on another page, and what follows
# that link in the address.
FOUND = {
    "account": ("/installs/?sort=state", "a.install-name", ""),
    "account-disconnect": ("/installs/?sort=state", "a.install-name", "disconnect/"),
    "account-snooze": ("/installs/?sort=state", "a.install-name", "snooze/"),
    "account-forget": ("/installs/?q=Gone+Florist", "a.install-name", "forget/"),
    "agency": ("/agencies/", "a.agency-name", ""),
    "agency-compare": ("/agencies/", "a.agency-name", "reconcile/"),
    "event": ("/events/", "a.install-name", ""),
    "job": ("/jobs/", ".journal-what a", ""),
    "key": ("/keys/", "a.install-name", ""),
    "key-change": ("/keys/", "a.install-name", "change/"),
    "endpoint": ("/endpoints/", "a.install-name", ""),
    "endpoint-change": ("/endpoints/", "a.install-name", "edit/"),
    "channel": ("/alerts/", "a[href*='/channels/']:text('Change')", ""),
    "incident-snooze": ("/alerts/", "a[href*='/incidents/']", ""),
    "person": ("/people/", "td a:text('Change')", ""),
    "invitation": ("/people/", "a[href*=invitations]", ""),
    "wall": ("/status-links/", ".link-addresses a", ""),
}
# Those that answer a form, which only a button sends: {name: (on which page, end of its address)}.
SENT = {
    "token": ("account", "reveal/"),
    "key-shown": ("key", "rotate/"),
    "endpoint-secret": ("endpoint", "secret/"),
}


def send(page: Page, end: str) -> None:
    """Send the form of the open page whose address ends so, as without a script."""
    with page.expect_navigation():
        form = page.locator(f"form[action$='/{end}']").first
        form.evaluate("form => HTMLFormElement.prototype.submit.call(form)")


def addresses(page: Page) -> dict[str, str]:
    """Return {name: path} of all pages; somebody must be signed in.

    A page of which nothing exists yet is left out.
    """
    found = {}
    for name, (address, link, end) in FOUND.items():
        page.goto(address)
        first = page.locator(link).first
        if first.count():
            found[name] = f"{first.get_attribute('href')}{end}"
    return {**FIXED, **found}
