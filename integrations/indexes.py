"""An index of which the last columns serve one kind of database only."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# The order by agency.
_ORDER = ["company_name", "company_id", "name"]


class NamesIndex(models.Index):
    """Lists by agency, and holds all else that a search looks at.

    SQLite and MariaDB read it instead of the wide rows to find a part of a name. PostgreSQL finds
    that by trigrams, and would read this index all the same: it gets the order only.
    """

    def __init__(self, *, name: str) -> None:
        super().__init__(fields=[*_ORDER, "id", "resource_id", "user_type"], name=name)

    def deconstruct(self) -> Any:
        path, arguments, keywords = super().deconstruct()
        return path, arguments, {"name": keywords["name"]}

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **keywords: Any,
    ) -> Any:
        if schema_editor.connection.vendor == "postgresql":
            order = models.Index(fields=_ORDER, name=self.name)
            return order.create_sql(model, schema_editor, using, **keywords)
        return super().create_sql(model, schema_editor, using, **keywords)
