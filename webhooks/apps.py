from django.apps import AppConfig
from django.db.models.signals import post_migrate


class WebhooksConfig(AppConfig):
    name = "webhooks"
    verbose_name = "Webhooks"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        from webhooks import tasks

        post_migrate.connect(tasks.ensure_sweep, sender=self)
        post_spawn.connect(tasks.ensure_sweep)
