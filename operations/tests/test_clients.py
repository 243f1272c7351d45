"""The clients in clients/, against the running server; their retries against a scripted one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from integrations.health import Status
from integrations.models import GoHighLevelIntegration, HandOut

pytestmark = pytest.mark.one_database

CLIENTS = Path(settings.BASE_DIR) / "clients"
PYTHON, JS = CLIENTS / "python", CLIENTS / "js"

_spec = importlib.util.spec_from_file_location("whatreach", PYTHON / "whatreach.py")
assert _spec is not None and _spec.loader is not None
whatreach = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(whatreach)

Answer = tuple[int, dict[str, str], Any]


class Script:
    """A server that gives these answers, one after the other, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str]] = []
        self.speaks = threading.Event()
        self.speaks.set()
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script.requests.append((self.command, self.path))
                script.speaks.wait(60)
                status, headers, body = script.next()
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def close(self) -> None:
        self.speaks.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    made: list[Script] = []

    def make(*answers: Answer) -> Script:
        made.append(Script(*answers))
        return made[-1]

    yield make
    for server in made:
        server.close()


def token(text: str = "token-1", expires_in: int = 86_000) -> Answer:
    return 200, {}, {"access_token": text, "expires_in": expires_in}


def busy(retry_after: int = 0) -> Answer:
    body = {"error": "highlevel_unavailable", "details": "HighLevel does not answer."}
    return 503, {}, body | {"who_acts": "highlevel", "retry_after": retry_after}


REFUSED: Answer = 409, {}, {"error": "needs_reconnect", "details": "…", "who_acts": "client"}


# --- The two, by one face ---


class PythonClient:
    """`ask(url, n)`: the tokens of n callers at once, by one client, or the error's code."""

    def ask(
        self,
        url: str,
        callers: int = 1,
        patience_s: float = 30,
        times: int = 1,
        timeout_s: float = 35,
    ) -> list[str]:
        client = whatreach.WhatReach(url, "wr_key", patience_s=patience_s, timeout_s=timeout_s)

        def call(_: int) -> str:
            try:
                return str(client.token("install-1"))
            except whatreach.WhatReachError as error:
                return str(error.code)

        found: list[str] = []
        with ThreadPoolExecutor(callers) as pool:
            for _ in range(times):
                found += pool.map(call, range(callers))
        return found


class JsClient:
    def ask(
        self,
        url: str,
        callers: int = 1,
        patience_s: float = 30,
        times: int = 1,
        timeout_s: float = 35,
    ) -> list[str]:
        found: list[str] = in_node(
            """
            const call = () => client.token('install-1').catch((error) => error.code);
            const found = [];
            for (let i = 0; i < given.times; i += 1) {
              found.push(...await Promise.all(Array.from({ length: given.callers }, call)));
            }
            return found;
            """,
            url,
            options={"patienceMs": patience_s * 1000, "timeoutMs": timeout_s * 1000},
            callers=callers,
            times=times,
        )
        return found


def in_node(
    body: str, url: str, key: str = "wr_key", options: dict[str, Any] | None = None, **given: Any
) -> Any:
    """Run the body of a function that has `client` and `given`; return what it returns."""
    program = f"""
    import {{ WhatReach, WhatReachError }} from '{JS / "whatreach.mjs"}';
    import {{ inspect }} from 'node:util';
    const {{ url, key, options, given }} = JSON.parse(process.argv[1]);
    const client = new WhatReach(url, key, options);
    const run = async () => {{{body}}};
    console.log(JSON.stringify(await run()));
    """
    told = json.dumps({"url": url, "key": key, "options": options or {}, "given": given})
    done = subprocess.run(
        [node(), "--input-type=module", "-e", program, told],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def node() -> str:
    found = shutil.which("node")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("node is missing: apt-get install nodejs")
        pytest.skip("node is missing: apt-get install nodejs")
    return found


@pytest.fixture(params=[PythonClient, JsClient], ids=["python", "js"])
def client_of(request: pytest.FixtureRequest) -> Any:
    return request.param()


def test_a_token_is_asked_for_once_and_kept(client_of, script):
    server = script(token())
    assert client_of.ask(server.url, times=3) == ["token-1"] * 3
    assert server.requests == [("GET", "/app/get-token/install-1/?min_valid_for=300")]


def test_callers_at_the_same_moment_share_one_request(client_of, script):
    server = script(token())
    assert client_of.ask(server.url, callers=8) == ["token-1"] * 8
    assert len(server.requests) == 1


def test_a_token_of_which_too_little_is_left_is_used_and_soon_asked_for_again(client_of, script):
    server = script(token("old", expires_in=0), token("new"))
    assert client_of.ask(server.url, times=2) == ["old", "new"]


def test_a_passing_fault_is_waited_out_as_long_as_it_is_told(client_of, script):
    server = script(busy(), (429, {"Retry-After": "0"}, {"error": "slow_down"}), token())
    assert client_of.ask(server.url) == ["token-1"]
    assert len(server.requests) == 3


def test_a_wait_beyond_its_patience_is_an_error_at_once(client_of, script):
    server = script(busy(retry_after=60))
    assert client_of.ask(server.url, patience_s=5) == ["highlevel_unavailable"]
    assert len(server.requests) == 1


def test_a_clear_no_is_not_repeated(client_of, script):
    server = script(REFUSED)
    assert client_of.ask(server.url) == ["needs_reconnect"]
    assert len(server.requests) == 1


def test_an_error_is_not_kept(client_of, script):
    server = script(REFUSED, token())
    assert client_of.ask(server.url, times=2) == ["needs_reconnect", "token-1"]


def test_a_redirect_is_not_followed_with_the_key(client_of, script):
    elsewhere = script(token("stolen"))
    server = script((302, {"Location": elsewhere.url}, {}))
    assert client_of.ask(server.url) != ["stolen"]
    assert elsewhere.requests == []


def test_nobody_there_is_said_when_patience_ends(client_of):
    assert client_of.ask("http://127.0.0.1:1", patience_s=0.5) == ["not_reached"]


def test_an_answer_that_is_not_json_is_not_a_token(client_of, script):
    server = script((200, {}, "just a text"))
    assert client_of.ask(server.url, patience_s=0)[0] != "just a text"


def test_a_server_that_says_nothing_is_given_up_in_time(client_of, script):
    server = script(token())
    server.speaks.clear()
    assert client_of.ask(server.url, timeout_s=2, patience_s=0) == ["not_reached"]
    assert len(server.requests) == 1


# --- Of the Python client ---


def test_a_token_that_highlevel_refuses_is_got_anew(script):
    client = whatreach.WhatReach(script(token("old"), token("new")).url, "wr_key")
    first = client.token("install-1")
    client.forget("install-1", "some older token")
    assert client.token("install-1") == first
    client.forget("install-1", first)
    assert client.token("install-1") == "new"


def test_a_renewal_that_may_have_been_done_is_not_repeated():
    client = whatreach.WhatReach("http://127.0.0.1:1", "wr_key", patience_s=60)
    with pytest.raises(whatreach.WhatReachError, match="not_reached"):
        client.refresh("install-1")


def test_its_key_is_not_in_what_it_prints():
    assert "wr_key" not in repr(whatreach.WhatReach("http://localhost", "wr_key"))


# --- Of the JavaScript client ---


def test_in_node_a_token_that_highlevel_refuses_is_got_anew(script):
    got = in_node(
        """
        const got = [await client.token('install-1')];
        client.forget('install-1', 'some older token');
        got.push(await client.token('install-1'));
        client.forget('install-1', got[0]);
        got.push(await client.token('install-1'));
        return got;
        """,
        script(token("old"), token("new")).url,
    )
    assert got == ["old", "old", "new"]


def test_in_node_a_renewal_that_may_have_been_done_is_not_repeated():
    told = in_node(
        "return client.refresh('install-1').catch((error) => [error.code, error.status]);",
        "http://127.0.0.1:1",
        options={"patienceMs": 60_000},
    )
    assert told == ["not_reached", 0]


def test_in_node_its_key_is_not_in_what_it_prints():
    told = in_node("return [inspect(client), JSON.stringify(client)];", "http://localhost")
    assert "wr_key" not in "".join(told)


def test_in_node_one_install_waits_for_no_other(script):
    server = script(token("one"), token("other"))
    got = in_node(
        "return Promise.all(['install-1', 'install-2'].map((id) => client.token(id)));", server.url
    )
    assert sorted(got) == ["one", "other"]
    assert len(server.requests) == 2


# --- Against the running server ---


@pytest.fixture
def key(api: Callable[..., Any]) -> str:
    return str(api().defaults["HTTP_AUTHORIZATION"].partition(" ")[2])


@pytest.mark.django_db(transaction=True)
def test_it_gets_lists_and_renews_at_the_running_server(live_server, install_location, api):
    rows = [install_location(), install_location()]
    key = api().defaults["HTTP_AUTHORIZATION"].partition(" ")[2]
    client = whatreach.WhatReach(live_server.url, key)
    listed = [install["id"] for install in client.installs(limit="1")]
    assert sorted(listed) == sorted(str(row.pk) for row in rows)
    first = client.token(str(rows[0].pk))
    assert first == rows[0].open_access_token()
    assert client.refresh(str(rows[0].pk))["success"]
    assert client.token(str(rows[0].pk)) != first
    assert client.status(str(rows[0].pk))["state"] == "healthy"
    with pytest.raises(whatreach.WhatReachError) as caught:
        client.token("6a1f0c52-6f0e-4d0b-9a53-0d7c1f6f2f11")
    assert (caught.value.status, caught.value.may_pass) == (404, False)


@pytest.mark.django_db(transaction=True)
def test_in_node_it_gets_lists_and_renews_at_the_running_server(live_server, install_location, key):
    rows = [install_location(), install_location()]
    first = rows[0].open_access_token()
    told = in_node(
        """
        const told = { listed: [], tokens: [] };
        for await (const install of client.installs({ limit: 1 })) told.listed.push(install.id);
        const ask = () => client.token(given.id);
        told.tokens.push(...await Promise.all(Array.from({ length: 20 }, ask)));
        told.renewed = (await client.refresh(given.id)).success;
        told.tokens.push(await ask());
        told.state = (await client.status(given.id)).state;
        told.error = await client.token('6a1f0c52-6f0e-4d0b-9a53-0d7c1f6f2f11').catch((error) => (
          [error instanceof WhatReachError, error.status, error.code, error.whoActs, error.mayPass]
        ));
        return told;
        """,
        live_server.url,
        key,
        id=str(rows[0].pk),
    )
    assert sorted(told["listed"]) == sorted(str(row.pk) for row in rows)
    assert told["tokens"][:20] == [first] * 20
    rows[0].refresh_from_db()
    assert told["tokens"][20] == rows[0].open_access_token() != first
    assert HandOut.objects.get().tokens == 2  # for all of them
    assert (told["renewed"], told["state"]) == (True, "healthy")
    assert told["error"] == [True, 404, "not_found", "you", False]


@pytest.mark.django_db(transaction=True)
def test_in_node_a_call_above_the_limit_says_when_to_ask_again(
    live_server, install_location, key, settings
):
    settings.API_RATE_PER_MINUTE = 1
    row = install_location()
    told = in_node(
        """
        await client.status(given.id);
        const refused = await client.token(given.id).catch((error) => error);
        return [refused.code, refused.retryAfterMs, refused.mayPass];
        """,
        live_server.url,
        key,
        options={"patienceMs": 1},
        id=str(row.pk),
    )
    assert (told[0], told[2]) == ("too_many_calls", True)
    assert 0 < told[1] <= 60_000


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("language", ["python", "js"])
def test_its_example_reads_each_account(live_server, sandbox, key, language):
    row = sandbox.install(bulk=False)
    other = sandbox.install(bulk=False)
    GoHighLevelIntegration.objects.filter(pk=other.pk).update(
        status=Status.REFUSED, cause="refused", name="Old Mill Bakery"
    )
    command = {
        "python": [sys.executable, str(PYTHON / "example.py")],
        "js": [node(), str(JS / "example.mjs")],
    }[language]
    environ = {
        "PATH": os.environ["PATH"],
        "WHATREACH_URL": live_server.url,
        "WHATREACH_KEY": key,
        "HIGHLEVEL_URL": sandbox.url,
    }
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert any(line.startswith("Old Mill Bakery: ") and "client acts" in line for line in lines)
    assert row.open_access_token() not in done.stdout


# --- docs/clients.md ---


def shown(language: str) -> str:
    """The first lines of the page in that language."""
    text = (Path(settings.BASE_DIR) / "docs" / "clients.md").read_text()
    return text.partition(f"```{language}\n")[2].partition("```")[0]


def at(url: str, lines: str) -> str:
    return lines.replace("https://whatreach.example.com", url).replace("wr_…", "wr_key")


def test_the_first_lines_for_python_get_a_token(script):
    names = {"WhatReach": whatreach.WhatReach, "install_id": "install-1"}
    exec(at(script(token()).url, shown("python")), names)  # noqa: S102
    assert names["token"] == "token-1"


def test_the_first_lines_for_node_get_a_token(script):
    server = script(token())
    lines = at(server.url, shown("js"))
    assert in_node(f"const installId = 'install-1'; {lines} return token;", "") == "token-1"


# --- HighLevel's own SDK for Python, fed with our tokens ---


def as_documented() -> str:
    """The lines of docs/clients.md, in a program that has what they need."""
    text = (Path(settings.BASE_DIR) / "docs" / "clients.md").read_text()
    lines = text.partition("## HighLevel's own SDKs")[2].partition("```python\n")[2]
    return f"""
import asyncio, os
import highlevel
from whatreach import WhatReach

highlevel.HighLevel.BASE_URL = os.environ["HIGHLEVEL_URL"]
whatreach = WhatReach(os.environ["WHATREACH_URL"], os.environ["WHATREACH_KEY"])
install_id, location_id = os.environ["INSTALL_ID"], os.environ["LOCATION_ID"]

async def main():
{textwrap.indent(lines.partition("```")[0], "    ")}
    print(location)

asyncio.run(main())
"""


@pytest.mark.django_db(transaction=True)
def test_the_documented_lines_feed_highlevels_sdk(live_server, sandbox, key):
    row = sandbox.install(bulk=False)
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PYTHON),
        "WHATREACH_URL": live_server.url,
        "WHATREACH_KEY": key,
        "HIGHLEVEL_URL": sandbox.url,
        "INSTALL_ID": str(row.pk),
        "LOCATION_ID": row.resource_id,
    }
    command = [sys.executable, "-c", as_documented()]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert row.resource_id in done.stdout
    # The SDK has no refresh token to spend.
    assert max(token["uses"] for token in sandbox.token_uses()) == 0
