"""The bare app: no middleware at all."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

django.setup(set_prefix=False)
# allauth checks that its middleware is there when it is set up, and is not asked for here.
settings.MIDDLEWARE = []
application = WSGIHandler()
