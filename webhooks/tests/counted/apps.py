"""For tests with real processes: events of the type "Counted" leave one row each time."""

from __future__ import annotations

from django.apps import AppConfig


class CountedConfig(AppConfig):
    name = "webhooks.tests.counted"

    def ready(self) -> None:
        from django.utils import timezone

        from webhooks.handlers import HANDLERS, EventType
        from webhooks.models import EventAttempt, GoHighLevelWebhook

        def count(event: GoHighLevelWebhook) -> str:
            EventAttempt.objects.create(
                event=event, number=event.attempts, at=timezone.now(), error="effect"
            )
            return "counted"

        HANDLERS["Counted"] = EventType(count, "Leaves a row.")
