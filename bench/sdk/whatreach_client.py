"""A back end that has its tokens from WhatReach, told what to do line by line.

Each line of the input is a JSON object with `do`; each gets one line back.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

WHATREACH, SANDBOX = os.environ["WHATREACH_URL"], os.environ["SDK_BASE_URL"]
KEY = {"Authorization": f"Bearer {os.environ['WHATREACH_KEY']}"}
TIMEOUT_S = 60


def call(install_id: str, location_id: str, callers: int, at: float) -> dict[str, Any]:
    with ThreadPoolExecutor(callers) as pool:
        time.sleep(max(0, at - time.time()))
        calls = [pool.submit(get_location, install_id, location_id) for _ in range(callers)]
        return {"outcomes": [each.result() for each in calls]}


def get_location(install_id: str, location_id: str) -> str:
    """Return "ok" or what stood in the way."""
    address = f"{WHATREACH}/app/get-token/{install_id}/"
    answer = requests.get(address, headers=KEY, timeout=TIMEOUT_S)
    if not answer.ok:
        return f"{answer.status_code} {answer.json()['error']}"
    token = answer.json()["access_token"]
    answer = requests.get(
        f"{SANDBOX}/locations/{location_id}",
        headers={"Authorization": f"Bearer {token}", "Version": "2021-07-28"},
        timeout=TIMEOUT_S,
    )
    if not answer.ok:
        return f"HighLevel: {answer.status_code} {answer.json()['message']}"
    return "ok" if answer.json()["location"]["id"] == location_id else "another location"


for line in sys.stdin:
    order = json.loads(line)
    order.pop("do")
    print(json.dumps(call(**order)), flush=True)
