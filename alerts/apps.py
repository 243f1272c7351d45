from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AlertsConfig(AppConfig):
    name = "alerts"
    verbose_name = "Alerts"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        from alerts import tasks
        from alerts.models import Channel
        from integrations.sealed import Sealed, register

        post_migrate.connect(tasks.ensure_schedules, sender=self)
        post_spawn.connect(tasks.ensure_schedules)
        register(Sealed(Channel, {"address_encrypted": "alert channel|address"}))
