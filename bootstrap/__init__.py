"""Set up, start and check WhatReach with nothing but Python: `python3 -m bootstrap run`.

Standard library only, because it runs before anything is installed. The Makefile calls it.
"""
