from django.apps import AppConfig
from django.db.models.signals import post_migrate


class WebhooksConfig(AppConfig):
    name = "webhooks"
    verbose_name = "Webhooks"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        from integrations.sealed import Sealed, register
        from webhooks import checks, tasks  # noqa: F401
        from webhooks.forwarding_models import Endpoint

        secrets = {
            "secret_encrypted": "endpoint|secret",
            "old_secret_encrypted": "endpoint|old_secret",
        }
        register(Sealed(Endpoint, secrets))

        post_migrate.connect(tasks.ensure_schedules, sender=self)
        post_spawn.connect(tasks.ensure_schedules)
