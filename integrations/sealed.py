"""Where ciphertexts are kept: the tables that a rotation of the keys has to go through.

Whoever owns a model with sealed columns registers it when the app starts (AppConfig.ready).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model


@dataclass(frozen=True)
class Sealed:
    """`columns`: each with what its binding begins with; a "|" and the primary key follow.

    `key_column`: the indexed column that names the key of a row. A table of a few rows has none:
    it is read whole. `on_unreadable` is called with the primary key of a row that no key opens.
    """

    model: type[Model]
    columns: Mapping[str, str]
    key_column: str = ""
    on_unreadable: Callable[[Any], object] = field(default=lambda pk: None)

    @property
    def rows(self) -> Any:
        return self.model._default_manager.order_by()


SEALED: list[Sealed] = []


def register(sealed: Sealed) -> None:
    SEALED.append(sealed)
