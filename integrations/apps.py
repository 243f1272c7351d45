from django.apps import AppConfig
from django.db.models.signals import post_migrate


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "Installs"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        from integrations import checks, schedules  # noqa: F401

        post_migrate.connect(schedules.ensure_schedules, sender=self)
        post_spawn.connect(schedules.ensure_schedules)
