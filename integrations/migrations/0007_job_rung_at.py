from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0006_case_sensitive_ids'),
    ]

    operations = [
        migrations.AddField(
            model_name='renewaljob',
            name='rung_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name='renewaljob',
            index=models.Index(fields=['rung_at'], name='job_rung'),
        ),
    ]
