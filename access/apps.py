from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccessConfig(AppConfig):
    name = "access"
    verbose_name = "Access"

    def ready(self) -> None:
        from access import checks, signals  # noqa: F401
        from access.roles import ensure_roles

        post_migrate.connect(ensure_roles, sender=self)
