"""The product for the browser tests, and the browser's settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, expect

from e2e.product import CHROMIUM_ARGUMENTS, Product, manage, running_product

# A machine that is busy with something else is slow, not wrong.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    mine = {"executable_path": "/usr/bin/chromium", "args": CHROMIUM_ARGUMENTS}
    return {**browser_type_launch_args, **mine}


@pytest.fixture(scope="session")
def base_url(product: Product) -> str:
    """What the browser's relative addresses are relative to."""
    return product.url


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running_product(tmp_path_factory.mktemp("product")) as product:
        yield product


@pytest.fixture(scope="module", autouse=True)
def without_accounts(product: Product) -> None:
    """Each file of journeys begins with no account, whatever the ones before it installed."""
    _remove_accounts(product)


@pytest.fixture(autouse=True)
def nothing_of_a_first_try(product: Product, request: pytest.FixtureRequest) -> None:
    """CI walks a journey that failed once more: it begins with no account, as the first time.

    What a file is furnished with stays; its tests share it.
    """
    is_second_try = getattr(request.node, "execution_count", 1) > 1
    if is_second_try and not {"furniture", "furnished"} & set(request.fixturenames):
        _remove_accounts(product)


def _remove_accounts(product: Product) -> None:
    product.control("reset")
    # Also those that a file made up by itself, which are not the sandbox's.
    remove = "from dashboard import demo; demo.remove(); demo.GoHighLevelIntegration.objects.all()"
    manage(product.environ, "shell", "-c", f"{remove}.delete()")


@pytest.fixture
def problems(context: BrowserContext) -> list[str]:
    """What the browser complains about: script errors, and whatever the CSP blocks."""
    return listen_for_problems(context)


def listen_for_problems(context: BrowserContext) -> list[str]:
    found: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # htmx says this of a poll that was cut off because its page was left.
        is_cut_poll = message.text.startswith("htmx:afterRequest")
        if message.type == "error" and not is_cut_poll:
            found.append(message.text)

    context.on("console", note)
    context.on("weberror", lambda error: found.append(str(error.error)))
    return found
