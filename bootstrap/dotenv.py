"""The .env file: written once with fresh keys, read for the few names that we need ourselves."""

from __future__ import annotations

import base64
import os
import re
import secrets
from pathlib import Path

from bootstrap.console import ROOT

_TEMPLATE = """\
# Written by the first `make run`, never overwritten. .env.example shows every name.
# Keep a copy of TOKEN_ENCRYPTION_KEYS: without it no stored token can be read again.
DJANGO_SECRET_KEY={secret_key}
TOKEN_ENCRYPTION_KEYS=k1:{token_key}

# Your HighLevel marketplace app. As long as GHL_CLIENT_ID is not set, `make run` starts the
# local sandbox in HighLevel's place.
#GHL_CLIENT_ID=
#GHL_CLIENT_SECRET=
#GHL_REDIRECT_URI=https://whatreach.example.com/app/callback/
"""


def path() -> Path:
    """Return the file that config/settings.py reads, too."""
    return ROOT / os.environ.get("WHATREACH_ENV_FILE", ".env")


def write_once(file: Path) -> bool:
    """Write the file with fresh keys, readable by its owner alone; False when it exists."""
    text = _TEMPLATE.format(
        secret_key=secrets.token_urlsafe(64),
        token_key=base64.b64encode(secrets.token_bytes(32)).decode(),
    )
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with open(descriptor, "w") as handle:
        handle.write(text)
    return True


def read(file: Path) -> dict[str, str]:
    """Return the file's names and values, {} without a file.

    Only plain and quoted values are understood, as django-environ reads them.
    """
    if not file.exists():
        return {}
    lines = re.findall(r"^(?:export )?([A-Za-z_0-9]+)=(.*)$", file.read_text(), re.MULTILINE)
    return {name: re.sub(r"""\A(['"])(.*)\1\Z""", r"\2", value) for name, value in lines}
