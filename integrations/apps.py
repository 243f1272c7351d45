from django.apps import AppConfig
from django.db.models.signals import post_migrate


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "Installs"

    def ready(self) -> None:
        from django.db.backends.signals import connection_created
        from django_q.signals import post_execute_in_worker, post_spawn, pre_enqueue, pre_execute

        from integrations import checks, database_host, pulse, schedules  # noqa: F401

        connection_created.connect(database_host.on_connected)
        post_migrate.connect(schedules.ensure_schedules, sender=self)
        post_spawn.connect(schedules.ensure_schedules)
        post_spawn.connect(pulse.on_spawn)
        pre_enqueue.connect(pulse.on_enqueue)
        pre_execute.connect(pulse.on_begin)
        post_execute_in_worker.connect(pulse.on_end)
