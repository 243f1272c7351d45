"""What a page may cost on the first visit."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from e2e.furniture import furnish
from e2e.people import install, open_account, sign_in
from e2e.product import Product, manage

# Of a first visit, compressed as sent, headers included.
MOST_BYTES = 250_000
# Polls fast, and notes what moves meanwhile and which states are seen.
WATCH = """() => {
    const moved = [];
    window.seen = new Set();
    const note = (entries) => {
        for (const { sources } of entries) {
            for (const { node, previousRect: from, currentRect: to } of sources) {
                const what = node?.outerHTML ?? node?.textContent;
                moved.push(`${from.x},${from.y} to ${to.x},${to.y}: ${what?.slice(0, 90)}`);
            }
        }
    };
    const observer = new PerformanceObserver((list) => note(list.getEntries()));
    observer.observe({ type: "layout-shift" });
    // A shift is measured when a frame is drawn, and told to the observer later than that.
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    window.whatMoved = async () => {
        await frame();
        await frame();
        note(observer.takeRecords());
        return moved.splice(0);
    };
    setInterval(() => {
        for (const row of document.querySelectorAll("[data-row]")) seen.add(row.dataset.state);
        htmx.trigger(document.body, "tick");
    }, 400);
}"""

# The widest state, and how far its badge stays away from the next column, in pixels.
ROOM = """(badges) => badges.map((badge) => {
    badge.lastChild.textContent = "Paused by HighLevel";
    return badge.closest("td").getBoundingClientRect().right - badge.getBoundingClientRect().right;
})"""
CUT = """(all) => all
    .filter((e) => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight)
    .map((e) => e.textContent)"""


@dataclass(frozen=True)
class Furnished:
    """`ids`: HighLevel's, by the names of the sub-accounts."""

    paths: dict[str, str]
    ids: dict[str, str]


@pytest.fixture(scope="module")
def furnished(product: Product, browser: Browser) -> Furnished:
    page = browser.new_page(base_url=product.url)
    sign_in(product, page)
    ids = furnish(product, page).ids
    open_account(page, "Green Gym")
    account = page.url.removeprefix(product.url)
    page.close()
    return Furnished({"overview": "/", "accounts": "/installs/", "account": account}, ids)


@pytest.mark.parametrize("name", ["overview", "accounts", "account"])
def test_a_first_visit_weighs_no_more_than_its_budget(
    product: Product, browser: Browser, furnished: Furnished, name: str
) -> None:
    context = browser.new_context(base_url=product.url)
    page = context.new_page()
    sign_in(product, page)
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")
    devtools.send("Network.clearBrowserCache")
    received: dict[str, float] = {}
    devtools.on(
        "Network.loadingFinished",
        lambda event: received.update({event["requestId"]: event["encodedDataLength"]}),
    )
    page.goto(furnished.paths[name], wait_until="networkidle")
    context.close()
    weight = sum(received.values())
    print(f"{name}: {weight / 1000:.0f} kB in {len(received)} answers")
    assert len(received) > 10
    assert weight <= MOST_BYTES


def test_nothing_moves_while_accounts_change_their_state(
    product: Product, browser: Browser, furnished: Furnished, request: pytest.FixtureRequest
) -> None:
    # A worker that has just begun is a banner that goes away.
    a_tick = "from integrations.tasks import scheduled_tick; scheduled_tick()"
    manage(product.environ, "shell", "-c", a_tick)
    context = browser.new_context(base_url=product.url)
    page = context.new_page()
    sign_in(product, page)
    # A second try of this test would find what the first one has wrecked.
    wreck = f"Wreck {secrets.token_hex(4)}"
    wrecked = product.control("agencies", name=wreck, locations=[])
    request.addfinalizer(lambda: product.control("uninstall", company_id=wrecked["id"]))
    install(product, page, wrecked["id"])
    watched = [
        _watch(context, furnished.paths[name], width)
        for name in ("overview", "accounts")
        for width in (1280, 390)
    ]
    product.control("knobs", latency_seconds=3)
    manage(product.environ, "refresh_ghl_tokens", "--force")
    product.control("knobs", latency_seconds=0)
    product.control("uninstall", location_id=furnished.ids["Green Gym"])
    product.control("refuse", company_id=wrecked["id"])
    open_account(page, wreck)
    page.get_by_role("button", name="Refresh now").click()
    for page in watched[:2]:
        expect(page.locator(".attention-item", has_text=wreck)).to_be_visible()
    for page in watched:
        gym = page.locator("tr.install-row", has_text="Green Gym")
        expect(gym.locator(".state")).to_have_text("Uninstalled")
        assert "refreshing" in page.evaluate("[...seen]")
        assert page.evaluate("whatMoved()") == []
    # What does move is seen.
    page.evaluate("document.getElementById('main').prepend(document.createElement('hr'))")
    assert page.evaluate("whatMoved()") != []
    context.close()


@pytest.mark.parametrize("width", [1280, 1440])
def test_no_usual_name_in_the_list_is_cut(
    product: Product, page: Page, furnished: Furnished, width: int
) -> None:
    names = ["Harborview Physical Therapy", "Cottonwood Valley Pediatrics and Family Care"]
    agency = product.control("agencies", name="Northern Lights Marketing Group", locations=names)
    sign_in(product, page)
    install(product, page, agency["id"])
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"/installs/?agency={agency['id']}")
    shown = page.locator("tr.install-row").locator(".install-name, .install-agency")
    expect(shown.filter(has_text=names[0])).to_be_visible()
    assert {*names, "Northern Lights Marketing Group"} == set(shown.all_inner_texts())
    assert shown.evaluate_all(CUT) == []
    assert min(page.locator("tr.install-row .state").evaluate_all(ROOM)) >= 6


def _watch(context: BrowserContext, path: str, width: int) -> Page:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(path)
    page.evaluate(WATCH)
    return page
