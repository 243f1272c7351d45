import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

# The models are ready now. Each web process imports this file for itself, after its start.
from integrations import heartbeat  # noqa: E402
from integrations.crypto import keyring  # noqa: E402

# The commands check it by themselves. Without a key each token would be a fault.
keyring()
heartbeat.keep_beating_as_web()
