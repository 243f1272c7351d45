"""HighLevel's list of the sub-accounts of an agency that have the app, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from integrations.highlevel import HighLevel, InstalledLocation, InstalledPage
from integrations.models import GoHighLevelIntegration
from integrations.refresh import call_with_token

PAGE_SIZE = 100


def pages(agency: GoHighLevelIntegration, *, skip: int = 0) -> Iterator[InstalledPage]:
    """Yield what HighLevel lists from position `skip` on; every page has something on it.

    A page with fewer than asked for need not be the last: HighLevel may have a limit of its own.
    Errors: HighLevelError, DecryptError.
    """
    client = HighLevel.from_settings()
    seen: set[str] = set()
    while True:
        ask = partial(
            client.installed_locations, company_id=agency.resource_id, skip=skip, limit=PAGE_SIZE
        )
        page = call_with_token(agency, ask)
        ids = {location.location_id for location in page.locations}
        if ids <= seen:  # none, or the same ones over again
            return
        yield page
        seen |= ids
        skip += len(page.locations)


def find(agency: GoHighLevelIntegration, location_id: str) -> InstalledLocation | None:
    """Ask for one sub-account; None when HighLevel does not list it (any more).

    Errors: HighLevelError, DecryptError.
    """
    ask = partial(
        HighLevel.from_settings().installed_locations,
        company_id=agency.resource_id,
        location_id=location_id,
    )
    listed = call_with_token(agency, ask).locations
    # Compared here too: a HighLevel that does not know the filter would give all of them.
    return next((one for one in listed if one.location_id == location_id), None)
