"""The catalogue of causes: what happened, what it means, who acts, what to do next.

One entry for each code that a row, a journal entry or an API error can carry. Words are for
agency staff (no protocol terms); developers get code and raw detail beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WhoActs(StrEnum):
    NOBODY = "nobody"
    YOU = "you"
    CLIENT = "client"
    HIGHLEVEL = "highlevel"
    OPERATOR = "operator"


_WHO_IN_WORDS = {
    WhoActs.NOBODY: "Nobody has to act",
    WhoActs.YOU: "Whoever made the call acts",
    WhoActs.CLIENT: "The client acts",
    WhoActs.HIGHLEVEL: "HighLevel acts",
    WhoActs.OPERATOR: "Whoever runs WhatReach acts",
}


@dataclass(frozen=True)
class Cause:
    code: str
    title: str
    sentence: str
    effect: str
    who_acts: WhoActs
    button: str = ""
    client_message: str = ""

    @property
    def who_acts_in_words(self) -> str:
        return _WHO_IN_WORDS[self.who_acts]


_STILL_WORKS = "The current token works until it ends; we keep trying."
_REFUSED_MESSAGE = (
    "Hello, our connection to your HighLevel account has ended. "
    "Please open this link and confirm once; nothing else changes: {reconnect_url}"
)

_CATALOGUE = [
    # --- Renewal: passing faults, nobody needs to act ---
    Cause(
        "not_reached",
        "HighLevel could not be reached",
        "We could not connect to HighLevel.",
        _STILL_WORKS,
        WhoActs.NOBODY,
        "Refresh now",
    ),
    Cause(
        "no_answer",
        "HighLevel did not answer",
        "HighLevel took our request and did not answer.",
        _STILL_WORKS,
        WhoActs.NOBODY,
        "Refresh now",
    ),
    Cause(
        "rate_limited",
        "HighLevel asked us to slow down",
        "HighLevel is limiting how often we may ask.",
        _STILL_WORKS,
        WhoActs.NOBODY,
        "Refresh now",
    ),
    Cause(
        "server_error",
        "HighLevel has a fault",
        "HighLevel answered with a fault of its own.",
        _STILL_WORKS,
        WhoActs.HIGHLEVEL,
        "Refresh now",
    ),
    Cause(
        "unreadable_answer",
        "HighLevel's answer could not be read",
        "HighLevel answered in a form that we do not understand.",
        _STILL_WORKS,
        WhoActs.OPERATOR,
        "Refresh now",
    ),
    # --- Renewal: the account itself ---
    Cause(
        "refused",
        "Needs reconnect",
        "HighLevel no longer accepts our access to this account.",
        "Nobody gets a token for it until it is reconnected.",
        WhoActs.CLIENT,
        "Copy reconnect link",
        _REFUSED_MESSAGE,
    ),
    Cause(
        "answer_lost",
        "Needs reconnect: an answer was lost",
        "HighLevel renewed the access, but its answer never reached us.",
        "Nobody gets a token for it until it is reconnected.",
        WhoActs.CLIENT,
        "Copy reconnect link",
        _REFUSED_MESSAGE,
    ),
    Cause(
        "location_inactive",
        "Paused by HighLevel",
        "This sub-account is not active in HighLevel.",
        "Nothing runs for it now. We resume by ourselves when it is active again.",
        WhoActs.CLIENT,
        "Refresh now",
    ),
    Cause(
        "token_damaged",
        "The stored token cannot be read",
        "The stored token cannot be read with the present key.",
        "A renewal brings a new one if it can; else the right key has to come back, or the "
        "account is reconnected.",
        WhoActs.OPERATOR,
        "Copy reconnect link",
    ),
    # --- Renewal: our own set-up ---
    Cause(
        "our_credentials",
        "HighLevel refuses our app's own sign-in",
        "HighLevel does not accept the client id and secret that WhatReach is set up with.",
        "No account can be renewed until they are right. Nobody has to reconnect.",
        WhoActs.OPERATOR,
        "Refresh now",
    ),
    Cause(
        "our_request",
        "HighLevel did not understand our request",
        "HighLevel says that our request is wrong.",
        _STILL_WORKS,
        WhoActs.OPERATOR,
        "Refresh now",
    ),
    Cause(
        "refused_in_outage",
        "Refused while HighLevel has a fault",
        "HighLevel refused this account's access during a fault of its own; we do not trust that.",
        "The current token works until it ends; we ask again when the fault is over.",
        WhoActs.HIGHLEVEL,
        "Refresh now",
    ),
    Cause(
        "held_back",
        "Not sent while HighLevel has a fault",
        "Renewals fail for many accounts at the moment, so this one was not sent.",
        "The current token works until it ends; it is renewed when the fault is over.",
        WhoActs.NOBODY,
        "Refresh now",
    ),
    Cause(
        "life_unclear",
        "HighLevel did not say how long the token lives",
        "HighLevel's answer gave no usable life time for the token. We count on two hours.",
        "The token works, and is renewed more often than needed.",
        WhoActs.NOBODY,
    ),
    # --- What an API call is told about a token that is good ---
    Cause(
        "scope_missing",
        "A permission is missing",
        "HighLevel says that our app does not have the scope for this.",
        "Calls that need it fail; others work.",
        WhoActs.OPERATOR,
    ),
    Cause(
        "token_class_wrong",
        "Wrong kind of access",
        "HighLevel says that this needs an agency's access, not a sub-account's, or the reverse.",
        "Calls that need it fail; others work.",
        WhoActs.OPERATOR,
    ),
    Cause(
        "account_mismatch",
        "Access to another account",
        "HighLevel says that this access is not for this sub-account.",
        "Calls about it fail.",
        WhoActs.OPERATOR,
    ),
    # --- The life of an install ---
    Cause(
        "waiting_for_agency",
        "Waiting for the agency",
        "This sub-account gets its access through its agency, whose sign-in has not arrived yet.",
        "It connects by itself as soon as the agency is connected.",
        WhoActs.NOBODY,
    ),
    Cause(
        "agency_not_usable",
        "Waiting for the agency's connection",
        "The agency's own connection does not work at the moment.",
        "It connects by itself as soon as the agency's connection works again.",
        WhoActs.NOBODY,
        "Refresh now",
    ),
    Cause(
        "mint_refused",
        "HighLevel does not give access yet",
        "HighLevel refused to give this sub-account's access to its agency's app.",
        "It has no token. We ask again.",
        WhoActs.YOU,
        "Refresh now",
    ),
    Cause(
        "waiting_for_sign_in",
        "Waiting for the agency's sign-in",
        "HighLevel says that the agency installed the app; its sign-in has not arrived yet.",
        "It connects as soon as the sign-in arrives.",
        WhoActs.NOBODY,
    ),
    Cause(
        "install_unfinished",
        "The install was not finished",
        "HighLevel says that the app is installed, but no sign-in for it has arrived.",
        "There is no token for it. It connects when the agency, or the client, opens the link.",
        WhoActs.CLIENT,
        "Copy reconnect link",
        "Hello, the connection to your HighLevel account was begun and not finished. "
        "Please open this link and confirm once: {reconnect_url}",
    ),
    Cause(
        "uninstalled",
        "Removed in HighLevel",
        "The app was removed from this account in HighLevel.",
        "We no longer have access to it.",
        WhoActs.NOBODY,
    ),
    Cause(
        "agency_uninstalled",
        "Removed by the agency",
        "The agency removed the app, for itself and all its sub-accounts.",
        "We no longer have access to it.",
        WhoActs.NOBODY,
    ),
    Cause(
        "disconnected",
        "Disconnected by your team",
        "Somebody on your team disconnected this account and removed the app in HighLevel.",
        "We no longer have access to it.",
        WhoActs.NOBODY,
    ),
    Cause(
        "ended_here",
        "Ended here only",
        "Somebody on your team ended this account here. HighLevel was not told.",
        "Nobody gets its token. In HighLevel the app may still be installed.",
        WhoActs.NOBODY,
    ),
    Cause(
        "not_listed",
        "No longer installed in HighLevel",
        "HighLevel no longer lists the app on this account.",
        "We no longer have access to it.",
        WhoActs.NOBODY,
    ),
    Cause(
        "no_proof",
        "HighLevel cannot be told",
        "HighLevel removes an app only for whoever holds the account's token, and we have none "
        "that works.",
        "Reconnect it first, or end it here only and remove the app in HighLevel by hand.",
        WhoActs.YOU,
    ),
    Cause(
        "deactivated",
        "Switched off here",
        "Somebody on your team switched this account off.",
        "It is not renewed, and nobody gets its token.",
        WhoActs.NOBODY,
    ),
    # --- What an API caller is told ---
    Cause(
        "key_missing",
        "No API key",
        "Send your API key in the header: Authorization: Bearer wr_…",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    Cause(
        "key_refused",
        "API key refused",
        "This API key is unknown, disabled or expired. Ask for a new one.",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    Cause(
        "key_lacks_scope",
        "API key lacks a scope",
        "This API key does not have the scope that this address needs.",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    Cause(
        "key_lacks_install",
        "API key is limited to other accounts",
        "This API key is limited to other accounts.",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    Cause(
        "role_lacks_permission",
        "Your role does not allow this",
        "You are signed in, but your role does not allow this.",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    Cause(
        "too_many_calls",
        "Too many calls",
        "There were too many calls within this minute. Call again when it is over.",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    Cause(
        "csrf_refused",
        "Your page is too old",
        "Reload the page and try again.",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    Cause(
        "not_found",
        "Not found",
        "There is nothing here with this address or id.",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    Cause(
        "method_not_allowed",
        "Wrong method",
        "This address does not take this method; the Allow header names those it takes.",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    Cause(
        "invalid_input",
        "Invalid input",
        "A value in the request is missing or not valid.",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    Cause(
        "needs_reconnect",
        "Needs reconnect",
        "HighLevel no longer accepts our access to this account; the client has to reconnect it.",
        "There is no token to give.",
        WhoActs.CLIENT,
    ),
    Cause(
        "paused_by_highlevel",
        "Paused by HighLevel",
        "This sub-account is not active in HighLevel.",
        "There is no token to give until it is active again.",
        WhoActs.CLIENT,
    ),
    Cause(
        "waiting_for_install",
        "Waiting for install",
        "This install is not finished yet; its token is still to come.",
        "Ask again in a moment.",
        WhoActs.NOBODY,
    ),
    Cause(
        "highlevel_unavailable",
        "HighLevel does not answer",
        "HighLevel does not answer, and no stored token is still valid.",
        "Ask again later.",
        WhoActs.HIGHLEVEL,
    ),
    Cause(
        "database_unavailable",
        "The database does not answer",
        "WhatReach's own database does not answer at the moment.",
        "Nothing was done. Ask again in a moment.",
        WhoActs.OPERATOR,
    ),
    Cause(
        "hand_out_not_recorded",
        "The hand-out could not be recorded",
        "A token only leaves when that is on record, and the record could not be written.",
        "Nobody got the token. Ask again in a moment.",
        WhoActs.OPERATOR,
    ),
    Cause(
        "body_too_large",
        "Body too large",
        "The body of the request is larger than what is taken here.",
        "Nothing was done.",
        WhoActs.YOU,
    ),
    # --- What a caller of HighLevel through WhatReach is told ---
    Cause(
        "address_refused",
        "This address is not passed on",
        "Calls to this address of HighLevel are not passed on.",
        "Nothing was sent.",
        WhoActs.YOU,
    ),
    Cause(
        "length_required",
        "Length of the body is missing",
        "Send the length of the body in the header Content-Length.",
        "Nothing was sent.",
        WhoActs.YOU,
    ),
    Cause(
        "upload_too_slow",
        "The body came too slowly",
        "The body of the request did not arrive within the time that a call may take.",
        "HighLevel got no whole request.",
        WhoActs.YOU,
    ),
    Cause(
        "send_again",
        "Send it again",
        "HighLevel refused the token, which was renewed; the body is too large to have been kept.",
        "HighLevel did nothing. Send the call again.",
        WhoActs.YOU,
    ),
    Cause(
        "answer_too_large",
        "HighLevel's answer is too large",
        "HighLevel's answer is larger than what is passed on.",
        "The call was made; its answer was dropped.",
        WhoActs.YOU,
    ),
    Cause(
        "internal_error",
        "A fault on our side",
        "WhatReach has a fault. It is in the log; nothing was lost.",
        "The request was not done.",
        WhoActs.OPERATOR,
    ),
    # --- What HighLevel's deliveries are told ---
    Cause(
        "signature_refused",
        "Delivery without a good signature",
        "The delivery is not signed by HighLevel's key, or its body was changed on the way.",
        "Nothing was stored.",
        WhoActs.OPERATOR,
    ),
    Cause(
        "event_too_large",
        "Delivery too large",
        "The delivery is larger than one megabyte.",
        "Nothing was stored.",
        WhoActs.OPERATOR,
    ),
    Cause(
        "event_too_slow",
        "Delivery came too slowly",
        "The body of the delivery did not arrive in time. Deliver it again.",
        "Nothing was stored.",
        WhoActs.OPERATOR,
    ),
    Cause(
        "event_unreadable",
        "Delivery cannot be read",
        "The body is not an event in JSON.",
        "Nothing was stored.",
        WhoActs.OPERATOR,
    ),
    Cause(
        "event_of_another_app",
        "Delivery for another app",
        "The event is for another HighLevel app than the one set up here.",
        "Nothing was stored.",
        WhoActs.OPERATOR,
    ),
    Cause(
        "event_not_stored",
        "Delivery could not be stored",
        "The database does not take the event at the moment. Deliver it again.",
        "Nothing was stored.",
        WhoActs.OPERATOR,
    ),
    # --- Installing ---
    Cause(
        "not_configured",
        "WhatReach is not set up yet",
        "The HighLevel app's client id, secret or redirect address is missing.",
        "Nobody can install the app until they are set.",
        WhoActs.OPERATOR,
    ),
    Cause(
        "install_denied",
        "The install was cancelled",
        "Access was not allowed in HighLevel, so nothing was installed.",
        "Nothing was stored.",
        WhoActs.YOU,
        "Start again",
    ),
    Cause(
        "install_state_wrong",
        "This sign-in does not belong to this browser",
        "The link was used before, is too old, or was begun in another browser.",
        "Nothing was stored.",
        WhoActs.YOU,
        "Start again",
    ),
    Cause(
        "install_code_missing",
        "HighLevel sent no code",
        "HighLevel sent you back without the code that finishes an install.",
        "Nothing was stored.",
        WhoActs.YOU,
        "Start again",
    ),
    Cause(
        "install_code_refused",
        "HighLevel did not accept the code",
        "The code was used before or is too old, "
        "or WhatReach's client id and secret are not right.",
        "Nothing was stored.",
        WhoActs.YOU,
        "Start again",
    ),
    Cause(
        "install_unreachable",
        "HighLevel does not answer",
        "HighLevel did not answer, so the install could not be finished.",
        "Nothing was stored.",
        WhoActs.HIGHLEVEL,
        "Start again",
    ),
]

CAUSES = {cause.code: cause for cause in _CATALOGUE}
