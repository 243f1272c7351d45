"""MariaDB and MySQL compare texts without regard to case, unless told otherwise; ids must not.

A later AlterField of one of these columns has to do the same again.
"""

from django.db import migrations

# Table: {column: length}
COLUMNS = {
    "integrations_install": {"resource_id": 64, "company_id": 64},
    "integrations_listedlocation": {"resource_id": 64},
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
        ("integrations", "0005_comparison"),
    ]

    # These databases commit each change of a table by itself.
    operations = [migrations.RunPython(compare_bytes, compare_without_case, atomic=False)]
