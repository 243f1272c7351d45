"""A client for WhatReach: valid HighLevel access tokens, and nothing else to think about.

One file without dependencies; copy it into your project. Python 3.9 or newer.

    whatreach = WhatReach("https://whatreach.example.com", key="wr_…")
    token = whatreach.token(install_id)
    requests.get(url, headers={"Authorization": f"Bearer {token}", "Version": "2021-07-28"})

A token is kept in memory and shared by all threads until little of it is left. When HighLevel says
401 to one all the same, call `forget(install_id, token)` and ask again, once.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

__all__ = ["WhatReach", "WhatReachError"]

# After these a repeat may help; everything else says the same again.
_PASSING = (429, 502, 503, 504)
_PAUSE_S = 1.0
# A token of which less is left than was asked for: HighLevel is away, so look again soon.
_LOOK_AGAIN_S = 30.0


class WhatReachError(Exception):
    """WhatReach has no token to give, or did not answer.

    `code`: what the answer calls it, such as "needs_reconnect", or "not_reached"; `who_acts`: you,
    client, highlevel or operator; `status`: 0 when there was no answer.
    """

    def __init__(
        self,
        code: str,
        details: str,
        *,
        status: int = 0,
        who_acts: str = "operator",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details
        self.status = status
        self.who_acts = who_acts
        self.retry_after_s = retry_after_s

    @property
    def may_pass(self) -> bool:
        """Whether asking again later may help without anybody doing anything."""
        return self.status in (0, *_PASSING)


class _Entry:
    """One install's token. `lock`: one thread asks, the others wait for what it gets."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.token = ""
        self.good_until = 0.0


class WhatReach:
    """Safe to share between threads.

    `min_valid_for_s`: how long a token must be good for when you get it. `timeout_s`: for one
    answer, which may wait for HighLevel. `patience_s`: how long passing faults are waited out.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        min_valid_for_s: int = 300,
        timeout_s: float = 35.0,
        patience_s: float = 20.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._min_valid_for_s = min_valid_for_s
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<WhatReach at {self._base_url}>"

    def token(self, install_id: str) -> str:
        """Return a valid access token of the install. Errors: WhatReachError."""
        entry = self._entry(install_id)
        with entry.lock:
            if time.monotonic() >= entry.good_until:
                asked_at = time.monotonic()
                answer = self._get(
                    f"/app/get-token/{_quoted(install_id)}/",
                    min_valid_for=str(self._min_valid_for_s),
                )
                entry.token = answer["access_token"]
                # By our own clock from the asking on: it need not agree with the server's.
                entry.good_until = asked_at + self._good_for_s(float(answer["expires_in"]))
            return entry.token

    def forget(self, install_id: str, token: str) -> None:
        """Do not give this token again; a newer one that another thread got meanwhile stays."""
        entry = self._entry(install_id)
        with entry.lock:
            if entry.token == token:
                entry.good_until = 0.0

    def status(self, install_id: str) -> dict[str, Any]:
        """Return state, cause, expiry … of one install. Errors: WhatReachError."""
        return self._get(f"/app/status/{_quoted(install_id)}/")

    def installs(self, **filters: str) -> Iterator[dict[str, Any]]:
        """Yield all installs that the key may see. `filters`: state, agency, q, limit."""
        cursor: dict[str, str] = {}
        while True:
            page = self._get("/app/list/", **filters, **cursor)
            yield from page["integrations"]
            if not page.get("next_cursor"):
                return
            cursor = {"cursor": page["next_cursor"]}

    def refresh(self, install_id: str) -> dict[str, Any]:
        """Renew the install's token now, which is rarely needed. Errors: WhatReachError."""
        answer = self._call("POST", f"/app/refresh/{_quoted(install_id)}/")
        entry = self._entry(install_id)
        with entry.lock:
            entry.good_until = 0.0
        return answer

    def _entry(self, install_id: str) -> _Entry:
        with self._lock:
            return self._entries.setdefault(install_id, _Entry())

    def _good_for_s(self, expires_in_s: float) -> float:
        kept = expires_in_s - self._min_valid_for_s
        return kept if kept > 0 else min(_LOOK_AGAIN_S, expires_in_s / 2)

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        return self._call("GET", f"{path}?{urllib.parse.urlencode(query)}" if query else path)

    def _call(self, method: str, path: str) -> dict[str, Any]:
        """Repeat while the fault may pass and there is patience left."""
        give_up_at = time.monotonic() + self._patience_s
        pause_s = _PAUSE_S
        while True:
            try:
                return self._call_once(method, path)
            except WhatReachError as error:
                # A renewal that was asked for and not answered may have been done.
                unsure = method == "POST" and error.status == 0
                wait_s = pause_s if error.retry_after_s is None else error.retry_after_s
                if not error.may_pass or unsure or time.monotonic() + wait_s > give_up_at:
                    raise
                time.sleep(wait_s)
                pause_s *= 2

    def _call_once(self, method: str, path: str) -> dict[str, Any]:
        request = urllib.request.Request(
            self._base_url + path,
            method=method,
            headers={"Authorization": f"Bearer {self._key}", "Accept": "application/json"},
        )
        try:
            with _OPENER.open(request, timeout=self._timeout_s) as response:
                return _object(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise _error(error) from None
        except OSError as error:
            name = type(getattr(error, "reason", error)).__name__
            raise WhatReachError("not_reached", f"no answer ({name})") from None
        except ValueError:
            raise WhatReachError("not_reached", "the answer is not JSON") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key is for WhatReach alone, so it is sent nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def _quoted(install_id: str) -> str:
    return urllib.parse.quote(str(install_id), safe="")


def _object(body: bytes) -> dict[str, Any]:
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("not an object")
    return data


def _error(error: urllib.error.HTTPError) -> WhatReachError:
    try:
        data = _object(error.read())
    except (OSError, ValueError):
        data = {}
    header = error.headers.get("Retry-After", "")
    told = data.get("retry_after")
    if told is None and header.isdigit():
        told = int(header)
    return WhatReachError(
        str(data.get("error") or f"http_{error.code}"),
        str(data.get("details") or f"HTTP {error.code}"),
        status=error.code,
        who_acts=str(data.get("who_acts") or "operator"),
        retry_after_s=told,
    )
