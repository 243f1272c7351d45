from __future__ import annotations

import argparse
import signal
from types import FrameType

from bootstrap import product, quality
from bootstrap.console import Refused, say

COMMANDS = {
    "run": (product.run, "set up what is missing and start everything on this machine"),
    "test": (quality.test, "unit tests on SQLite, then on each of TEST_DATABASE_URLS"),
    "check": (quality.check, "linters, types, templates, imports, migrations, deployment"),
    "e2e": (quality.e2e, "browser tests with Chromium"),
    "format": (quality.format_code, "rewrite code and templates in the project's style"),
    "lock": (quality.lock, "pin requirements*.in into requirements*.txt, with hashes"),
    "screenshots": (quality.screenshots, "pictures of every page, in both themes and three sizes"),
    "bench": (quality.bench, "the benchmarks on SQLite in one table, each against its goal"),
    "soak": (quality.soak, "the product for half an hour, everything going wrong around it"),
    "compare": (quality.compare, "HighLevel's official SDKs beside the product"),
    "browser": (quality.browser, "make sure that Chromium is installed"),
}


def main(arguments: list[str]) -> int:
    """Run one command and return the exit code: 0 done, 1 something failed, 2 cannot start."""
    command = _parser().parse_args(arguments).command
    _treat_as_ctrl_c(signal.SIGTERM, signal.SIGHUP)
    try:
        return COMMANDS[command][0]()
    except Refused as refusal:
        say(str(refusal))
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m bootstrap", description="WhatReach")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary)
    return parser


def _treat_as_ctrl_c(*signals: signal.Signals) -> None:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, interrupt)
