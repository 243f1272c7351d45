"""The sandbox in a process of its own, for tests with real processes."""

from integrations.tests.conftest import sandbox, sandbox_url

__all__ = ["sandbox", "sandbox_url"]
