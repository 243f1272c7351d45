"""List the accounts that the key may see, and read each sub-account's record from HighLevel.

WHATREACH_URL=https://whatreach.example.com WHATREACH_KEY=wr_… python example.py
"""

from __future__ import annotations

import json
import os
import urllib.request

from whatreach import WhatReach, WhatReachError

HIGHLEVEL = os.environ.get("HIGHLEVEL_URL", "https://services.leadconnectorhq.com")


def main() -> None:
    whatreach = WhatReach(os.environ["WHATREACH_URL"], key=os.environ["WHATREACH_KEY"])
    for install in whatreach.installs():
        if not install["location_id"]:
            continue
        try:
            token = whatreach.token(install["id"])
        except WhatReachError as error:
            print(f"{install['location_name']}: {error.details} ({error.who_acts} acts)")
            continue
        print(read_location(install["location_id"], token)["name"])


def read_location(location_id: str, token: str) -> dict[str, str]:
    request = urllib.request.Request(
        f"{HIGHLEVEL}/locations/{location_id}",
        headers={
            "Authorization": f"Bearer {token}",
            "Version": "2021-07-28",
        },
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)["location"]


if __name__ == "__main__":
    main()
