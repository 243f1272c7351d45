# No `from __future__` here: an older Python must get as far as the message below.
import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "WhatReach needs Python 3.11 or newer, and {} is {}.{}. "
        "Name a newer one: PYTHON=python3.11 make run".format(sys.executable, *sys.version_info)
    )

from bootstrap.cli import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
