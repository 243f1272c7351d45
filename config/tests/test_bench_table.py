from __future__ import annotations

import pytest

from bench.__main__ import BEGIN, END, updated

pytestmark = pytest.mark.one_database


def test_benchmarks_that_were_not_run_keep_their_rows_in_the_docs():
    docs = f"""Before.
{BEGIN}Last run on Monday.

| | figure |
|---|---|
| `get_token` | 1 |
| `due` | 2 |
| `due` | 3 |
| `idle` | 4 |
{END}After.
"""
    run = """Last run on Tuesday.

| | figure |
|---|---|
| `idle` | 5 |
| `due` | 6 |
"""
    assert (
        updated(docs, run)
        == f"""Before.
{BEGIN}Last run on Tuesday.

| | figure |
|---|---|
| `get_token` | 1 |
| `due` | 6 |
| `idle` | 5 |
{END}After.
"""
    )
