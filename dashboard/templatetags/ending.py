from __future__ import annotations

from datetime import datetime

from django import template

from integrations import ending
from integrations.models import GoHighLevelIntegration

register = template.Library()


@register.simple_tag
def erased_at(install: GoHighLevelIntegration) -> datetime | None:
    """When the tokens of an uninstalled one are (or were) erased; None for any other."""
    return ending.erased_at(install)
