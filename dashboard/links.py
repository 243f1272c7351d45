from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse


def install_link(request: HttpRequest) -> str:
    """Return the address that a client opens to install or reconnect.

    It is on the host that HighLevel sends the browser back to: the session which is begun there
    must be found again at the end.
    """
    path = reverse("integrations:install")
    registered = urlsplit(settings.GHL_REDIRECT_URI)
    if registered.scheme and registered.netloc:
        return f"{registered.scheme}://{registered.netloc}{path}"
    return request.build_absolute_uri(path)
