"""MariaDB and MySQL compare texts without regard to case, unless told otherwise; ids must not."""

from django.db import migrations

# Table: {column: length}
COLUMNS = {
    "webhooks_gohighlevelwebhook": {
        "webhook_id": 100,
        "type": 80,
        "app_id": 64,
        "company_id": 64,
        "location_id": 64,
    },
    "webhooks_answercount": {"type": 80},
    "webhooks_eventstock": {"type": 80},
    "webhooks_eventrhythm": {"account_id": 64},
}


def compare_bytes(apps, schema_editor):
    _collate(schema_editor, "utf8mb4_bin")


def compare_without_case(apps, schema_editor):
    _collate(schema_editor, "utf8mb4_general_ci")


def _collate(schema_editor, collation):
    if schema_editor.connection.vendor != "mysql":
        return
    for table, columns in COLUMNS.items():
        changes = ", ".join(
            f"MODIFY `{name}` varchar({length}) CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL"
            for name, length in columns.items()
        )
        schema_editor.execute(f"ALTER TABLE `{table}` {changes}")


class Migration(migrations.Migration):

    dependencies = [
        ("webhooks", "0002_journal_counts_and_rhythm"),
    ]

    # These databases commit each change of a table by itself.
    operations = [migrations.RunPython(compare_bytes, compare_without_case, atomic=False)]
