from django.db import migrations, models


class Migration(migrations.Migration):
    """What the dashboard lists among very many installs is found by these: those near their end,
    those that fail, and all by agency."""

    dependencies = [("integrations", "0014_writes_of_older_processes")]

    operations = [
        migrations.AddIndex(
            model_name="gohighlevelintegration",
            index=models.Index(
                fields=["company_name", "company_id", "name"], name="install_by_agency"
            ),
        ),
        migrations.AddIndex(
            model_name="gohighlevelintegration",
            index=models.Index(fields=["status", "expires_at"], name="install_near_end"),
        ),
        migrations.AddIndex(
            model_name="gohighlevelintegration",
            index=models.Index(fields=["status", "failures", "name"], name="install_failing"),
        ),
        migrations.AddIndex(
            model_name="gohighlevelintegration",
            index=models.Index(
                fields=["company_id", "status", "expires_at"], name="install_of_agency"
            ),
        ),
        migrations.RemoveIndex(model_name="gohighlevelintegration", name="install_agency"),
        migrations.RemoveIndex(model_name="gohighlevelintegration", name="install_status"),
        migrations.RemoveIndex(model_name="gohighlevelintegration", name="install_failures"),
    ]
