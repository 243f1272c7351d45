"""WhatReach's version: said here alone. `.dev0` until CHANGELOG.md has a section of this number."""

__version__ = "0.2.dev0"
