from django.db import migrations

BATCH = 500


def fill(apps, schema_editor):
    """Read from each ciphertext which key sealed it: its first byte is the length of the id."""
    Install = apps.get_model("integrations", "GoHighLevelIntegration")
    rows = Install.objects.using(schema_editor.connection.alias).filter(key_id="").order_by("pk")
    last = None
    while True:
        batch = rows if last is None else rows.filter(pk__gt=last)
        found = list(batch.values_list("pk", "access_token_encrypted")[:BATCH])
        for pk, ciphertext in found:
            data = bytes(ciphertext or b"")
            key_id = data[1 : 1 + data[0]].decode(errors="replace") if data else ""
            if key_id:
                Install.objects.using(rows.db).filter(pk=pk).update(key_id=key_id[:64])
        if len(found) < BATCH:
            return
        last = found[-1][0]


class Migration(migrations.Migration):
    dependencies = [("integrations", "0008_key_ids_and_rotations")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
