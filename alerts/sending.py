"""One message to one channel, sent once. No database, and never within a transaction."""

from __future__ import annotations

import logging
import re
import smtplib
from dataclasses import dataclass

from django.core.mail import EmailMessage

from alerts import addresses
from alerts.messages import Message
from alerts.models import Channel
from integrations.crypto import DecryptError

# Its own lines may hold parts of the URL; what is told of them goes through `_clean`.
_apprise_log = logging.getLogger("apprise")
_apprise_log.propagate = False
_apprise_log.addHandler(logging.NullHandler())

PREFIX = "[WhatReach] "
_REFUSED = re.compile(r"error=(40[0134]|410|422)\b")


@dataclass(frozen=True)
class Outcome:
    """`error`: what went wrong, in words for staff; empty when it was taken. `is_refusal`: the
    other side said clearly that it does not want it; trying again will not help."""

    error: str = ""
    is_refusal: bool = False


def send(channel: Channel, message: Message) -> Outcome:
    """It never raises for what the other side does."""
    try:
        address = channel.open_address()
    except DecryptError:
        return Outcome("Its address cannot be read with the present key. Add it again.")
    if channel.way == Channel.MAIL:
        return send_mail(address, message)
    with addresses.only_public() as refused:
        outcome = send_by_apprise(address, message)
    if refused and outcome.error:
        return Outcome(
            "Its address is in a private network. Whoever runs WhatReach can allow that with "
            "ALERTS_ALLOW_PRIVATE_ADDRESSES.",
            is_refusal=True,
        )
    return outcome


def send_mail(address: str, message: Message) -> Outcome:
    headers = {"Auto-Submitted": "auto-generated"}
    if message.unsubscribe_url:
        headers["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail = EmailMessage(PREFIX + message.subject, message.text, to=[address], headers=headers)
    try:
        mail.send()
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
        return _smtp(code, text)
    except smtplib.SMTPResponseException as error:
        return _smtp(error.smtp_code, error.smtp_error)
    except (smtplib.SMTPException, OSError) as error:
        return Outcome(f"The mail server could not be reached: {type(error).__name__}.")
    return Outcome()


def send_by_apprise(url: str, message: Message) -> Outcome:
    sender = addresses.notifier(url)
    if sender is None:
        return Outcome("This apprise URL cannot be read any more.", is_refusal=True)
    result = sender.notify(
        title=PREFIX + message.subject,
        body=message.text,
        body_format="text",
        notify_type="warning" if message.is_red else "info",
        log_level=logging.WARNING,
    )
    if result:
        return Outcome()
    told = [entry.message for entry in result.logs()]
    text = _clean(told[-1] if told else "The service did not take it.", url)
    return Outcome(text, is_refusal=bool(_REFUSED.search(text)))


def _smtp(code: int, text: bytes | str) -> Outcome:
    words = text.decode(errors="replace") if isinstance(text, bytes) else text
    return Outcome(f"The mail server refused it: {code} {words}"[:200], is_refusal=code >= 500)


def _clean(text: str, url: str) -> str:
    for secret in addresses.secrets_of(url):
        text = text.replace(secret, "…")
    return " ".join(text.split())[:200]
