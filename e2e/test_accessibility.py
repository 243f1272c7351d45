"""Every page meets WCAG 2.2 AA as far as a machine can judge: both themes, desk and phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import Product
from e2e.people import install, sign_in

AXE = (Path(__file__).parent / "vendor" / "axe-4.14.1.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SIZES = {"desk": (1280, 900), "phone": (390, 844)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_known_barrier(product: Product, page: Page, theme: str, size: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto("/accounts/login/")
    _check(page)
    sign_in(product, page)
    agency = product.control("agencies", name=f"Sight {theme} {size}", locations=["One", "Two"])
    install(product, page, agency["id"])
    _check(page)
    product.control("refuse", location_id=agency["locations"][0]["id"])

    for address in (
        "/",
        "/installs/",
        "/installs/?q=nothing+like+it",
        "/accounts/password/change/",
    ):
        page.goto(address)
        _check(page)
    page.goto(f"/installs/?agency={agency['id']}")
    _fits(page)
    page.locator("a.install-name").first.click()
    page.locator("#developers summary").click()
    _check(page)
    page.goto("/no-such-page/")
    _check(page)


def _check(page: Page) -> None:
    expect(page.locator("h1").first).to_be_visible()
    _fits(page)
    # Not as a script element: the page's policy would refuse it, and rightly.
    page.evaluate(AXE)
    found = page.evaluate("rules => axe.run({ runOnly: rules })", RULES)["violations"]
    said = [f"{page.url} {rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found]
    assert said == []


def _fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url
