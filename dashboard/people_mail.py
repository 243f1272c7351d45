from __future__ import annotations

import logging

from django.core.mail import send_mail
from django.template.loader import render_to_string

from access.mail import has_mail_server
from access.models import Invitation

logger = logging.getLogger(__name__)


def send_invitation(invitation: Invitation, link: str) -> bool:
    """Mail the link, where there is a mail server and an address; return whether it went."""
    if not invitation.email or not has_mail_server():
        return False
    text = render_to_string(
        "dashboard/people_invitation_mail.txt", {"invitation": invitation, "link": link}
    )
    try:
        return bool(send_mail("You are invited to WhatReach", text, None, [invitation.email]))
    except OSError as error:  # SMTPException is one, and so are time-outs
        logger.warning("An invitation's mail could not be sent: %s", type(error).__name__)
        return False
