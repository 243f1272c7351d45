from django.db import migrations

from integrations.indexes import NamesIndex


class Migration(migrations.Migration):
    """All that a search looks at, in the index that lists by agency."""

    dependencies = [("integrations", "0015_state_indexes")]

    operations = [
        migrations.AddIndex(
            model_name="gohighlevelintegration", index=NamesIndex(name="install_names")
        ),
        migrations.RemoveIndex(model_name="gohighlevelintegration", name="install_by_agency"),
    ]
