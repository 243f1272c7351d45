from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "operations"
    verbose_name = "Operations"

    def ready(self) -> None:
        from django_q.signals import post_execute_in_worker, pre_enqueue, pre_execute

        from operations import checks, request_ids  # noqa: F401

        pre_enqueue.connect(request_ids.put_into_task)
        pre_execute.connect(request_ids.take_from_task)
        post_execute_in_worker.connect(request_ids.forget)
