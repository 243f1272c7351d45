from django.db import ProgrammingError, NotSupportedError, migrations, transaction

COLUMNS = ("name", "company_name")


def add_trigram_indexes(apps, schema_editor):
    """Search by a part of a name, on PostgreSQL by its trigrams: else a million names are read for
    each search. Whoever may not create the extension goes without; search is then as slow as it
    is large. The other databases have nothing of the kind that Django's LIKE could use."""
    if schema_editor.connection.vendor != "postgresql":
        return
    try:
        with transaction.atomic(using=schema_editor.connection.alias):
            schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except (ProgrammingError, NotSupportedError):
        return
    for column in COLUMNS:
        schema_editor.execute(
            f"CREATE INDEX IF NOT EXISTS install_search_{column} ON integrations_install "
            f"USING gin (UPPER({column}::text) gin_trgm_ops)"
        )


def drop_trigram_indexes(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for column in COLUMNS:
            schema_editor.execute(f"DROP INDEX IF EXISTS install_search_{column}")


class Migration(migrations.Migration):
    dependencies = [("integrations", "0011_page_indexes")]

    operations = [migrations.RunPython(add_trigram_indexes, drop_trigram_indexes)]
