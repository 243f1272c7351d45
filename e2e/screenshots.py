"""`make screenshots`: every page, in both themes, on a desk and on a phone, as PNG files.

They are for looking at: those that the documents show are copied by `--docs`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from bootstrap.console import ROOT, say
from e2e.pages import addresses
from e2e.people import sign_in
from e2e.product import CHROMIUM_ARGUMENTS, Product, manage, running_product

FOLDER = ROOT / "var" / "screenshots"
IN_DOCS = ("overview", "account")
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
# The demo's troubles show after a few of the worker's looks.
TROUBLE_AFTER_S = 150


def main(arguments: list[str]) -> int:
    wanted = [name for name in arguments if not name.startswith("-")]
    # As in the demo, so that not all tokens are near their end all the time.
    margins = {"REFRESH_MARGIN_S": "60", "REFRESH_JITTER_S": "120"}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_product(Path(folder), **margins) as product,
    ):
        _fill(product, wait="--quick" not in arguments)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=CHROMIUM_ARGUMENTS
            )
            for theme in ("light", "dark"):
                for size in SIZES:
                    _take_all(browser, product, theme, size, wanted)
            browser.close()
    if "--docs" in arguments:
        for name in IN_DOCS:
            for theme in ("light", "dark"):
                shutil.copy(FOLDER / f"{name}-{theme}-desk.png", _in_docs(name, theme))
    say(f"The pictures are in {FOLDER.relative_to(ROOT)}.")
    return 0


def _in_docs(name: str, theme: str) -> Path:
    return ROOT / "docs" / "images" / (f"{name}.png" if theme == "light" else f"{name}-dark.png")


def _fill(product: Product, *, wait: bool) -> None:
    manage(
        product.environ,
        "sandbox_demo",
        f"--sandbox-url={product.sandbox_url}",
        f"--app-url={product.url}",
    )
    if wait:
        say(f"Waiting {TROUBLE_AFTER_S} s for the demo's troubles …")
        time.sleep(TROUBLE_AFTER_S)


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
            _take(page, FOLDER / f"{name}-{theme}-{size}.png")
    page.close()


def _take(page: Page, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=file, full_page=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
