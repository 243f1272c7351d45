"""A program that uses HighLevel's SDK for Python as its pages say, told what to do line by line.

Runs in the SDK's own venv. Each line of the input is a JSON object with `do`; each gets one line
back. SDK_STORE is a folder for sessions that several processes share; empty: the SDK's own memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from highlevel import HighLevel, MemorySessionStorage, SessionStorage

# The SDK logs to the standard output, where our answers go.
ANSWERS, sys.stdout = sys.stdout, sys.stderr


class Local(HighLevel):
    BASE_URL = os.environ["SDK_BASE_URL"]


class FolderStorage(SessionStorage):
    """Sessions in files, with the meaning of the SDK's MongoDB storage: a write lays the new values
    over the old ones and is seen whole or not at all; the last one stays."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def set_client_id(self, client_id: str) -> None:
        """One app alone uses the folder."""

    async def init(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    async def disconnect(self) -> None:
        """Nothing is kept open."""

    async def create_collection(self, collection_name: str) -> None:
        """The folder is the collection."""

    async def get_collection(self, collection_name: str) -> Path:
        return self.folder

    async def set_session(self, resource_id: str, session_data: dict[str, Any]) -> None:
        session = self.normalize_session_data(session_data)
        ends = {"expire_at": self.calculate_expire_at(session.get("expires_in"))}
        merged = (await self.get_session(resource_id) or {}) | session | ends
        fresh = self.folder / f"{resource_id}.{os.getpid()}.{time.monotonic_ns()}"
        fresh.write_text(json.dumps(merged))
        fresh.replace(self._file(resource_id))

    async def get_session(self, resource_id: str) -> dict[str, Any] | None:
        try:
            return json.loads(self._file(resource_id).read_text())
        except FileNotFoundError:
            return None

    async def delete_session(self, resource_id: str) -> None:
        self._file(resource_id).unlink(missing_ok=True)

    async def get_access_token(self, resource_id: str) -> str | None:
        return (await self.get_session(resource_id) or {}).get("access_token")

    async def get_refresh_token(self, resource_id: str) -> str | None:
        return (await self.get_session(resource_id) or {}).get("refresh_token")

    def _file(self, resource_id: str) -> Path:
        return self.folder / f"{resource_id}.json"


class Request:
    """What the SDK's webhook middleware wants of a web framework."""

    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        self.body, self.headers, self.method, self.url = body, headers, "POST", "/"


class Program:
    def __init__(self) -> None:
        store = os.environ["SDK_STORE"]
        self.client_id = os.environ["SDK_CLIENT_ID"]
        self.client_secret = os.environ["SDK_CLIENT_SECRET"]
        self.sdk = Local(
            client_id=self.client_id,
            client_secret=self.client_secret,
            session_storage=FolderStorage(Path(store)) if store else MemorySessionStorage(),
        )

    async def install(self, code: str) -> dict[str, Any]:
        tokens = await self.sdk.oauth.get_access_token(
            {
                "clientId": self.client_id,
                "clientSecret": self.client_secret,
                "grantType": "authorization_code",
                "code": code,
            }
        )
        return await self.store(tokens.get("locationId") or tokens["companyId"], tokens)

    async def mint(self, company_id: str, location_id: str) -> dict[str, Any]:
        tokens = await self.sdk.oauth.get_location_access_token(
            {"companyId": company_id, "locationId": location_id}
        )
        return await self.store(location_id, tokens)

    async def store(self, resource_id: str, session: dict[str, Any]) -> dict[str, Any]:
        await self.sdk.session_storage.set_session(resource_id, session)
        return {"session": session}

    async def has_session(self, resource_id: str) -> dict[str, Any]:
        return {"stored": await self.sdk.session_storage.get_session(resource_id) is not None}

    async def call(self, location_id: str, callers: int, at: float) -> dict[str, Any]:
        await asyncio.sleep(max(0, at - time.time()))
        calls = [get_location(self.sdk, location_id) for _ in range(callers)]
        return {"outcomes": await asyncio.gather(*calls)}

    async def call_with(self, token: str, location_id: str) -> dict[str, Any]:
        sdk = Local(client_id="made-up", client_secret="made-up", location_access_token=token)
        return {"outcomes": [await get_location(sdk, location_id)]}

    async def listen(self, public_key: str) -> dict[str, Any]:
        """Receive events as an application would that mounts the SDK's middleware."""
        # The names that the SDK's page tells to set.
        os.environ["CLIENT_ID"] = self.client_id
        os.environ["WEBHOOK_SIGNATURE_PUBLIC_KEY"] = public_key
        server = await asyncio.start_server(self._receive, "127.0.0.1", 0)
        return {"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"}

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in head[1:] if line]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        await self.sdk.webhooks.subscribe()(Request(body, headers))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


async def get_location(sdk: HighLevel, location_id: str) -> str:
    """Return "ok" or the error in the SDK's words."""
    options = {"preferred_token_type": "location"}
    try:
        answer = await sdk.locations.get_location(location_id, options)
    except Exception as error:  # whatever the SDK raises is what its caller gets
        return f"{type(error).__name__}: {error}"
    return "ok" if answer["location"]["id"] == location_id else "another location"


async def main() -> None:
    program = Program()
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        answer = await getattr(program, order.pop("do"))(**order)
        print(json.dumps(answer), file=ANSWERS, flush=True)


asyncio.run(main())
