"""`make screenshots`: every page, in both themes, on a desk, a tablet and a phone, as PNG files.

They are for looking at: those that the documents show are copied by `--docs`. Before they are
committed, a palette of 96 colours makes them a third as large.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from bootstrap.console import ROOT, say
from e2e.demo_day import live_through
from e2e.pages import addresses
from e2e.people import sign_in
from e2e.product import CHROMIUM_ARGUMENTS, Product, running_product

FOLDER = ROOT / "var" / "screenshots"
THEMES = ("light", "dark")
SIZES = {"desk": (1280, 900), "tablet": (820, 1180), "phone": (390, 844)}
# Those of the documents, and how much of each: in pixels from its top.
IN_DOCS = {
    "desk": {
        "overview": 2000,
        "account": 2000,
        "accounts-by-agency": 900,
        "job": 760,
        "agency": 900,
        "wall": 720,
    },
    "phone": {"overview": 1060, "accounts": 1060, "account": 1060},
}


def main(arguments: list[str]) -> int:
    wanted = [name for name in arguments if not name.startswith("-")]
    with tempfile.TemporaryDirectory() as folder, running_product(Path(folder)) as product:
        say("Living through a day of the demo …")
        live_through(product)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=CHROMIUM_ARGUMENTS
            )
            for theme in THEMES:
                for size in SIZES:
                    _take_all(browser, product, theme, size, wanted)
            browser.close()
    if "--docs" in arguments:
        for size, names in IN_DOCS.items():
            for name in names:
                # The screen for the wall has one theme alone.
                for theme in THEMES[:1] if name == "wall" else THEMES:
                    taken = FOLDER / f"{name}-{theme}-{size}-docs.png"
                    shutil.copy(taken, _in_docs(name, theme, size))
    say(f"The pictures are in {FOLDER.relative_to(ROOT)}.")
    return 0


def _in_docs(name: str, theme: str, size: str) -> Path:
    """Return the file, which says what is not usual: "account-phone-dark.png"."""
    unusual = [part for part in (size, theme) if part not in ("desk", "light")]
    return ROOT / "docs" / "images" / f"{'-'.join([name, *unusual])}.png"


def _take_all(browser: Browser, product: Product, theme: str, size: str, wanted: list[str]) -> None:
    width, height = SIZES[size]
    page = browser.new_page(
        base_url=product.url,
        viewport={"width": width, "height": height},
        color_scheme=theme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    sign_in(product, page)
    for name, path in addresses(page).items():
        if not wanted or name in wanted:
            page.goto(path)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=FOLDER / f"{name}-{theme}-{size}.png", full_page=True)
            if most := IN_DOCS.get(size, {}).get(name):
                _take_for_docs(page, FOLDER / f"{name}-{theme}-{size}-docs.png", width, most)
    page.close()


def _take_for_docs(page: Page, file: Path, width: int, most: int) -> None:
    whole = page.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(whole, most)}
    page.screenshot(path=file, full_page=True, clip=clip)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
