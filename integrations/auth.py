"""Who may call the JSON API: a key with the scope, or a staff session for what pages show."""

from __future__ import annotations

import uuid

from django.http import HttpRequest
from ninja.utils import check_csrf

from access.keys import find_api_key, note_use
from access.models import ApiKey, Scope
from integrations.models import GoHighLevelIntegration, IntegrationQuerySet

# A token itself is only for machines; people reveal one in the dashboard, where it is recorded.
_STAFF_SCOPES = {Scope.INTEGRATIONS_READ, Scope.TOKENS_REFRESH}


class ApiError(Exception):
    def __init__(
        self, code: str, status: int, *, details: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.details = details
        self.retry_after_s = retry_after_s


class Caller:
    """A machine by its key, or a person by their session (then `key` is None)."""

    def __init__(self, name: str, key: ApiKey | None) -> None:
        self.name = name
        self.key = key

    def installs(self) -> IntegrationQuerySet:
        """The installs this caller may see."""
        rows = GoHighLevelIntegration.objects.all()
        if self.key is not None and self.key.installs:
            return rows.filter(pk__in=self.key.installs)
        return rows

    def check_install(self, pk: uuid.UUID) -> None:
        """Errors: ApiError 403 when the key is limited to other installs."""
        if self.key is not None and not self.key.allows_install(pk):
            raise ApiError("key_lacks_install", 403)


class Requires:
    """Ninja's auth callable: sets request.auth to the Caller. Errors: ApiError 401, 403."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __call__(self, request: HttpRequest) -> Caller:
        header = request.headers.get("Authorization", "")
        if header:
            return self._by_key(request, header)
        return self._by_session(request)

    def _by_key(self, request: HttpRequest, header: str) -> Caller:
        kind, _, text = header.partition(" ")
        key = find_api_key(text.strip()) if kind.lower() == "bearer" else None
        if key is None:
            raise ApiError("key_refused", 401)
        if self.scope not in key.scopes:
            raise ApiError(
                "key_lacks_scope", 403, details=f"This API key lacks the scope {self.scope.value}."
            )
        note_use(key, request.META.get("REMOTE_ADDR"))
        return Caller(key.name, key)

    def _by_session(self, request: HttpRequest) -> Caller:
        user = request.user
        if not (user.is_authenticated and user.is_staff and self.scope in _STAFF_SCOPES):
            raise ApiError("key_missing", 401)
        if check_csrf(request) is not None:
            raise ApiError("csrf_refused", 403)
        return Caller(user.get_username(), None)
