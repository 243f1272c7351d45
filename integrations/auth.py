"""Who may call the JSON API: a key with the scope, or a staff session for what pages show."""

from __future__ import annotations

import ipaddress
import uuid

from django.db.models import Q
from django.http import HttpRequest
from ninja.security.http import HttpAuthBase
from ninja.utils import check_csrf

from access import limits
from access.keys import find_api_key, note_use
from access.models import ApiKey, Scope, User
from access.roles import Permission
from integrations.errors import ApiError
from integrations.models import GoHighLevelIntegration, IntegrationQuerySet

# A token itself is only for machines; people reveal one in the dashboard, where it is recorded.
_STAFF_PERMISSIONS = {
    Scope.INTEGRATIONS_READ: Permission.VIEW,
    Scope.TOKENS_REFRESH: Permission.OPERATE,
}


class Caller:
    """A machine by its key, or a person by their session; the other one is None."""

    def __init__(
        self, *, key: ApiKey | None = None, user: User | None = None, address: str | None = None
    ) -> None:
        self.key = key
        self.user = user
        self.address = address

    @property
    def name(self) -> str:
        if self.key is not None:
            return self.key.name
        return self.user.get_username() if self.user is not None else ""

    @property
    def is_limited(self) -> bool:
        if self.key is not None:
            return self.key.is_limited
        return self.user is None or bool(self.user.agencies)

    def installs(self) -> IntegrationQuerySet:
        """The installs this caller may see."""
        rows: IntegrationQuerySet = GoHighLevelIntegration.objects.all()
        if self.key is not None:
            if not self.key.is_limited:
                return rows
            chosen = Q(pk__in=self.key.installs) | Q(company_id__in=self.key.agencies)
            return rows.filter(chosen)
        return rows.none() if self.user is None else rows.visible_to(self.user)

    def check_install(self, pk: uuid.UUID) -> None:
        """Errors: ApiError 403 when the key is limited to other installs, 404 when the person is.

        A key's answer is the same whether there is such an install or not.
        """
        if not self.is_limited or (self.key is not None and str(pk) in self.key.installs):
            return
        only_installs = self.key is not None and not self.key.agencies
        if only_installs or not self.installs().filter(pk=pk).exists():
            if self.key is None:
                raise ApiError("not_found", 404)
            raise ApiError("key_lacks_install", 403)


class Requires(HttpAuthBase):
    """Ninja's auth callable: sets request.auth to the Caller. Errors: ApiError 401, 403, 429."""

    openapi_scheme = "bearer"

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope

    def __call__(self, request: HttpRequest) -> Caller:
        header = request.headers.get("Authorization", "")
        if header:
            return self._by_key(request, header)
        return self._by_session(request)

    def _by_key(self, request: HttpRequest, header: str) -> Caller:
        address = _address(request)
        kind, _, text = header.partition(" ")
        key = find_api_key(text.strip()) if kind.lower() == "bearer" else None
        if key is None:
            # A good key opens from a blocked address too: many callers may share it.
            _let_pass(limits.wait_of_address(address))
            raise ApiError("key_refused", 401)
        _let_pass(limits.wait_of_key(key.pk))
        if self.scope not in key.scopes:
            raise ApiError(
                "key_lacks_scope", 403, details=f"This API key lacks the scope {self.scope.value}."
            )
        note_use(key, address, self.scope.value)
        return Caller(key=key, address=address)

    def _by_session(self, request: HttpRequest) -> Caller:
        user, permission = request.user, _STAFF_PERMISSIONS.get(self.scope)
        if not (isinstance(user, User) and user.is_staff and permission):
            raise ApiError("key_missing", 401)
        if check_csrf(request) is not None:
            raise ApiError("csrf_refused", 403)
        if not user.has_perm(permission):
            raise ApiError("role_lacks_permission", 403)
        return Caller(user=user, address=_address(request))


def _let_pass(wait_s: int | None) -> None:
    if wait_s is not None:
        raise ApiError("too_many_calls", 429, retry_after_s=wait_s)


def _address(request: HttpRequest) -> str | None:
    """None when the server does not know it, as behind a Unix socket."""
    try:
        return str(ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")))
    except ValueError:
        return None
