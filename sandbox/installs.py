"""Where the app is allowed in and where that ends: consent, later sub-accounts, uninstall."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sandbox import ids
from sandbox.announcer import Announcer
from sandbox.errors import NotFound
from sandbox.knobs import BadKnob, Knobs
from sandbox.people import Company, Install, Location, People
from sandbox.tokens import Grant, TokenDesk


@dataclass(frozen=True)
class Choice:
    """What the installer decided, and what the consent link asked for."""

    bulk: bool
    future: bool
    redirect_uri: str
    scope: str
    client_id: str
    version_id: str


class Installs:
    """Writes installs, issues codes and announces both. The caller holds the transaction."""

    def __init__(
        self,
        people: People,
        tokens: TokenDesk,
        announcer: Announcer,
        now: Callable[[], float],
        knobs: Callable[[], Knobs],
    ) -> None:
        self._people = people
        self._tokens = tokens
        self._announcer = announcer
        self._now = now
        self._knobs = knobs

    def allow(self, company_id: str, location_ids: Iterable[str] | None, choice: Choice) -> str:
        """Install and return the code. Errors: NotFound, BadKnob."""
        company, chosen = self._chosen(company_id, location_ids, choice.bulk)
        location_id = chosen[0].id if chosen and not choice.bulk else ""
        grant = Grant(
            client_id=choice.client_id,
            company_id=company.id,
            location_id=location_id,
            user_id=self._people.users(company.id, location_id)[0].id,
            scope=choice.scope,
            bulk=choice.bulk,
        )
        code, _ = self._tokens.issue_code(grant, choice.redirect_uri)
        for index, place in enumerate(self._put(grant, chosen, choice)):
            self._announcer.installed(place, waits_for=code if self._is_late(index) else "")
        return code

    def add_location(self, location: Location) -> None:
        """Tell of a new sub-account, and install there when the agency chose future ones."""
        agency_install = self._people.install(location.company_id)
        if agency_install is None:
            return
        self._announcer.location_created(agency_install, location)
        if agency_install.future:
            place = replace(
                agency_install, location_id=location.id, installed_at=self._now(), future=False
            )
            self._people.put_install(place)
            self._announcer.installed(place, later=True)

    def end(self, resource_id: str) -> None:
        """End one place, an agency with all below it. Errors: NotFound."""
        company_id, location_id = self._people.place(resource_id)
        install = self._people.install(company_id, location_id)
        if install is None:
            raise NotFound(f"the app is not installed on {resource_id!r}")
        self._people.end_installs(company_id, location_id)
        self._tokens.void_codes(company_id, location_id)
        if location_id:
            self._tokens.revoke(company_id, location_id)
        else:
            self._tokens.revoke_company(company_id)
        self._announcer.uninstalled(install)

    def retire(self, version_id: str) -> int:
        """End every install on this version, agencies first; returns how many there were."""
        on_it = [i for i in self._people.installs() if i.version_id == version_id]
        for install in sorted(on_it, key=lambda install: bool(install.location_id)):
            if self._people.install(install.company_id, install.location_id):
                self.end(install.resource_id)
        return len(on_it)

    def _chosen(
        self, company_id: str, location_ids: Iterable[str] | None, bulk: bool
    ) -> tuple[Company, list[Location]]:
        if location_ids is None:
            company = self._people.company(company_id)
            return company, self._people.locations(company_id) if bulk else []
        chosen = [self._people.location(location_id) for location_id in location_ids]
        if not bulk and len(chosen) > 1:
            raise BadKnob("location_ids", "without bulk, one sub-account is installed at a time")
        owner = company_id or (chosen[0].company_id if chosen else "")
        if any(location.company_id != owner for location in chosen):
            raise BadKnob("location_ids", "all sub-accounts must be of one agency")
        return self._people.company(owner), chosen

    def _put(self, grant: Grant, chosen: list[Location], choice: Choice) -> list[Install]:
        """Write the installs; returns those that get an INSTALL event of their own."""
        agency = Install(
            company_id=grant.company_id,
            location_id="",
            client_id=grant.client_id,
            user_id=grant.user_id,
            version_id=choice.version_id or ids.app_id(grant.client_id),
            scope=grant.scope,
            bulk=grant.bulk,
            future=choice.future,
            installed_at=self._now(),
            active=True,
        )
        if not grant.location_id:
            self._people.put_install(agency)
        places = [replace(agency, location_id=each.id, future=False) for each in chosen]
        for place in places:
            self._people.put_install(place)
        return places if grant.bulk or places else [agency]

    def _is_late(self, index: int) -> bool:
        """Whether the INSTALL number `index` waits for the code exchange."""
        order = self._knobs().install_order
        return order == "callback_first" or (order == "interleaved" and index % 2 == 1)
