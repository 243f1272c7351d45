"""A requests adapter that answers from a World in the same process.

    session.mount("https://services.leadconnectorhq.com", SandboxAdapter(world))

Any base URL will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError, ConnectTimeout, ReadTimeout
from urllib3 import HTTPResponse

from sandbox.http import Outcome, answer
from sandbox.world import World


class SandboxAdapter(HTTPAdapter):
    """Calls never leave the process, nothing sleeps; a slow answer raises ReadTimeout at once.

    Errors: ConnectTimeout (nothing was sent), ConnectionError (reset, or answer lost after the
    call took effect), ReadTimeout (the call took effect, the answer is too late).
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float | None, float | None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        headers = {name: _text(value) for name, value in request.headers.items()}
        headers.setdefault("Host", (request.url or "").split("/")[2])
        outcome = answer(
            self._world, request.method or "", request.url or "", headers, _body(request)
        )
        _raise_if_cut(outcome, request, timeout)
        raw = HTTPResponse(
            body=BytesIO(outcome.body),
            headers=outcome.headers,
            status=outcome.status,
            preload_content=False,
        )
        return self.build_response(request, raw)


def _raise_if_cut(
    outcome: Outcome,
    request: PreparedRequest,
    timeout: float | tuple[float | None, float | None] | None,
) -> None:
    read_timeout = timeout[1] if isinstance(timeout, tuple) else timeout
    if outcome.cut == "unreachable":
        raise ConnectTimeout("the sandbox could not be reached", request=request)
    if outcome.cut:
        raise ConnectionError("the sandbox closed the connection", request=request)
    if read_timeout is not None and outcome.delay_s > read_timeout:
        raise ReadTimeout(f"no answer within {read_timeout} s", request=request)


def _body(request: PreparedRequest) -> bytes:
    body = request.body or b""
    return body.encode() if isinstance(body, str) else bytes(body)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
