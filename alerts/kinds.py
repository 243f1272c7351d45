"""What can go wrong, and what people are told about each."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models


class Kind(models.TextChoices):
    NEEDS_RECONNECT = "needs_reconnect", "An account needs reconnect"
    DAMAGED = "damaged", "A stored token cannot be read"
    EXPIRED = "expired", "A token ended and no renewal worked"
    RUNWAY = "runway", "A refresh token has less than 30 days left"
    SILENCE = "silence", "An account sends no events any more"
    OUTAGE = "outage", "HighLevel renews no tokens"
    CREDENTIALS = "credentials", "HighLevel refuses our app's sign-in"
    WORKER = "worker", "The worker stands still"
    SCHEDULER = "scheduler", "The scheduler stands still"
    RENEWALS = "renewals", "Renewals are due and none is done"
    EVENTS_PARKED = "events_parked", "Events could not be processed"
    ANSWERS = "answers", "Deliveries of events are not answered well"
    ENDPOINT = "endpoint", "An endpoint gets no events any more"
    KEY_USE = "key_use", "An API key is used in an unusual way"
    DISK = "disk", "The disk or the database is full, or nearly"
    CHANNEL = "channel", "Alerts do not arrive"


# What an install's access can suffer from, the worst last: an install has one incident at a time,
# which becomes worse or better.
ACCESS = (Kind.EXPIRED, Kind.DAMAGED, Kind.NEEDS_RECONNECT)
# Anything up to all installs can have these at once; one look begins watch.MOST of each at most.
OF_INSTALLS = (*ACCESS, Kind.RUNWAY, Kind.SILENCE)
# While one of these goes on, WhatReach itself does not do its work.
STANDSTILL = (Kind.WORKER, Kind.SCHEDULER, Kind.RENEWALS)
# Those that whoever runs WhatReach mends; the outgoing heartbeat reports them as a failure.
OPERATORS = (*STANDSTILL, Kind.OUTAGE, Kind.CREDENTIALS, Kind.DISK)


@dataclass(frozen=True)
class About:
    """`title` follows the subject: "Harbour Dental: needs reconnect". `is_red`: somebody must act
    now; else it is to be watched."""

    title: str
    effect: str
    who: str
    is_red: bool = True
    recovered: str = "works again"


_OPERATOR = "Whoever runs WhatReach acts."

ABOUT: dict[str, About] = {
    Kind.NEEDS_RECONNECT: About(
        "needs reconnect",
        "Nobody gets a token for it until it is reconnected.",
        "The client acts, or you for them: send them the reconnect link.",
        recovered="is connected again",
    ),
    Kind.DAMAGED: About(
        "the stored token cannot be read",
        "It cannot be renewed until the right key is back or it is reconnected.",
        _OPERATOR,
    ),
    Kind.EXPIRED: About(
        "its token ended and no renewal has worked",
        "Automations that use it stand still until a renewal works.",
        _OPERATOR,
    ),
    Kind.RUNWAY: About(
        "its refresh token ends within 30 days",
        "If no renewal works until then, it has to be reconnected.",
        "The agency's owner acts, in HighLevel.",
        is_red=False,
        recovered="has been renewed",
    ),
    Kind.SILENCE: About(
        "has sent no events for longer than usual",
        "Either nothing happens there, or HighLevel does not deliver.",
        "You look whether that is expected.",
        is_red=False,
        recovered="sends events again",
    ),
    Kind.OUTAGE: About(
        "does not answer",
        "Present tokens work until they end; we keep trying by ourselves.",
        "Nobody has to act.",
        is_red=False,
        recovered="answers again",
    ),
    Kind.CREDENTIALS: About(
        "refuses our app's own sign-in",
        "No account can be renewed until client id and secret are right. Nobody has to reconnect.",
        _OPERATOR,
        recovered="accepts our app again",
    ),
    Kind.WORKER: About(
        "stands still",
        "Nothing is renewed by itself. Tokens that callers ask for are still renewed.",
        _OPERATOR,
        recovered="runs again",
    ),
    Kind.SCHEDULER: About(
        "stands still",
        "Nothing is renewed by itself. Tokens that callers ask for are still renewed.",
        _OPERATOR,
        recovered="runs again",
    ),
    Kind.RENEWALS: About(
        "are due and none is done",
        "Tokens end one by one if that goes on.",
        _OPERATOR,
        recovered="are done again",
    ),
    Kind.EVENTS_PARKED: About(
        "could not be processed",
        "What they tell has not been taken in. They are kept and can be replayed.",
        _OPERATOR,
        is_red=False,
        recovered="are all processed",
    ),
    Kind.ANSWERS: About(
        "are not answered well",
        "HighLevel delivers them again for a while, then gives up.",
        _OPERATOR,
        recovered="are answered again",
    ),
    Kind.ENDPOINT: About(
        "gets no events any more",
        "It was switched off. What waits for it is kept, and sent once it is on again.",
        "Whoever runs that back end mends it; then you switch it on.",
        recovered="gets events again",
    ),
    Kind.KEY_USE: About(
        "is used in an unusual way",
        "Somebody else may have it. A key can be disabled at once.",
        "You look whether that is expected.",
        is_red=False,
        recovered="has been looked at",
    ),
    Kind.DISK: About(
        "is nearly full",
        "When it is full, renewed tokens can no longer be stored.",
        _OPERATOR,
        recovered="has room again",
    ),
    Kind.CHANNEL: About(
        "gets no alerts any more",
        "It failed for so long that it was switched off.",
        "Its owner mends it and switches it on again.",
        recovered="gets alerts again",
    ),
}


_OUR_OUTAGE = About(
    "renews no tokens",
    "Present tokens work until they end; we keep trying by ourselves.",
    _OPERATOR,
    recovered="renews tokens again",
)
# Where the cause makes another thing of it: HighLevel answers, and somebody has to act. The kind's
# own label, by which a channel is told of it or not, is true of both.
_BY_CAUSE = {
    (Kind.OUTAGE, "our_request"): _OUR_OUTAGE,
    (Kind.OUTAGE, "unreadable_answer"): _OUR_OUTAGE,
}


def about_of(kind: str, cause: str) -> About:
    """Return what people are told about it."""
    return _BY_CAUSE.get((Kind(kind), cause), ABOUT[kind])


def rank(kind: str) -> int:
    """How bad an install's trouble is, to tell worse from better; 0 for what has no order."""
    return ACCESS.index(Kind(kind)) + 1 if kind in ACCESS else 0
