from __future__ import annotations

from django.apps import AppConfig


class SandboxConfig(AppConfig):
    """A local HighLevel for tests, demos and benchmarks; it has no models."""

    name = "sandbox"
    label = "sandbox"
