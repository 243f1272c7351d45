"""What open dashboard tabs cost the web server: CPU, beside /healthz asked as often.

The tabs poll as static/js/live.js does: often while somebody is at them, seldom when left alone,
each with the version of the panel that it shows. Half show the overview, half the accounts.

python -m bench.tabs [--database-url URL] [--installs N] [--tabs N] [--seconds N]
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import requests

from bench import due, stage
from bench.harness import free_port
from bench.idle import WARM_UP_S, _watch
from bench.pages import signed_in
from bench.programs import WEB, WORKER, Program, program, until
from bench.results import Figure, note
from bench.soak.visitors import _once_more_over_a_fresh_connection

# Of one core.
GOAL = 0.10
PANELS, FLOOR, FLOOR_S = ("/live/overview/", "/live/installs/"), ("/healthz",), 30
# As live.js names them.
PACES = {"left alone": "IDLE_MS", "in use": "ACTIVE_MS"}
VERSION = "X-Panel-Version"


@dataclass
class Tabs:
    """So many browsers with a tab each. Errors: RuntimeError when an answer is not 200 or 204."""

    url: str
    session: dict[str, str]
    count: int
    answers: list[int] = field(default_factory=list)

    def cost(self, web: Program, paths: tuple[str, ...], every_s: float, seconds: float) -> float:
        """Print and return the share of one core that `web` takes."""
        self.answers.clear()
        stop = Event()
        each = (paths[number % len(paths)] for number in range(self.count))
        tabs = [Thread(target=self._show, args=(path, every_s, stop)) for path in each]
        for tab in tabs:
            tab.start()
        try:
            until("each tab shows its page", lambda: len(self.answers) >= self.count)
            self.answers.clear()
            cpu = _watch([web], seconds)[web.name].cpu
        finally:
            stop.set()
            for tab in tabs:
                tab.join()
        print(f"    {paths[0]:<16} {cpu:6.2%} of a core, answers {dict(Counter(self.answers))}")
        if set(self.answers) - {200, 204}:
            raise RuntimeError("polls failed")
        return cpu

    def _show(self, path: str, every_s: float, stop: Event) -> None:
        with requests.Session() as browser:
            browser.mount("http://", _once_more_over_a_fresh_connection())
            browser.headers["HX-Request"] = "true"
            browser.cookies.update(self.session)
            next_at = time.monotonic() + random.uniform(0, every_s)  # not all in step
            while True:
                answer = browser.get(self.url + path, timeout=60, allow_redirects=False)
                self.answers.append(answer.status_code)
                if version := answer.headers.get(VERSION):
                    browser.headers[VERSION] = version
                if stop.wait(max(0, next_at - time.monotonic())):
                    return
                next_at = time.monotonic() + every_s


def measure(database_url: str, installs: int, tabs: int, seconds: float) -> float:
    """Print what was measured; return the largest share of a core."""
    port, script, costs = free_port(), (stage.ROOT / "static/js/live.js").read_text(), []
    with stage.staged(database_url), ExitStack() as stack:
        from django.core.management import call_command

        call_command("collectstatic", "--noinput", verbosity=0)
        stack.callback(due._empty)
        due._grow_to(installs)
        client = stack.enter_context(signed_in())
        session = {name: cookie.value for name, cookie in client.cookies.items()}
        shown = Tabs(f"http://127.0.0.1:{port}", session, tabs)
        log, environ = Path("/dev/null"), {"PORT": str(port)}
        with program("web", *WEB, log=log, **environ) as web, program("worker", *WORKER, log=log):
            time.sleep(WARM_UP_S)
            print(f"{stage.machine()}, {installs} installs, {tabs} tabs", flush=True)
            for name, constant in PACES.items():
                [ms] = re.findall(rf"{constant} = (\d+);", script)
                print(f"  {name}: a poll every {ms} ms", flush=True)
                cost = shown.cost(web, PANELS, int(ms) / 1000, seconds)
                floor = shown.cost(web, FLOOR, int(ms) / 1000, FLOOR_S)
                said = f"{name} {cost:.1%} of a core", f"/healthz {floor:.1%}"
                note(Figure("tabs", *said, "% of a core", cost * 100, GOAL * 100))
                costs.append(cost)
    print(f"  goal {GOAL:.0%} {'reached' if max(costs) <= GOAL else 'missed'}")
    return max(costs)


if __name__ == "__main__":
    parser = stage.arguments("What open dashboard tabs cost the web server.")
    parser.add_argument("--installs", type=int, default=2000)
    parser.add_argument("--tabs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    sys.exit(0 if measure(**vars(parser.parse_args())) <= GOAL else 1)
