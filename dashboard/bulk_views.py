"""Actions on many accounts: what it will do first, then the doing."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from access.audit import record
from access.roles import Permission
from alerts import incidents
from dashboard.alert_forms import SnoozeForm
from dashboard.htmx import HtmxRequest, list_as_shown, next_page, staff_page
from dashboard.selection import Selection, read_selection
from dashboard.sentences import LOOKS, accounts
from dashboard.summary import summarise
from dashboard.undo import offer_undo, take_back
from integrations import bulk, ending, snapshots
from integrations.deadlocks import atomically
from integrations.health import WORST_FIRST, State

# Of the accounts that an action is for, before it is done.
MOST_NAMED = 10
_LIST = "dashboard:install-list"
# What is switched off in one request, so that it can be taken back in one.
MOST_SWITCHED_OFF = 2_000


@dataclass(frozen=True)
class BulkAction:
    """`effect`: what it does to an account. `skips`: the states that it leaves as they are, and
    `skipped_as`: what those accounts are."""

    name: str
    verb: str
    icon: str
    effect: str
    skips: frozenset[str] = frozenset({State.UNINSTALLED})
    skipped_as: str = "removed or switched off"
    is_dangerous: bool = False


ACTIONS = {
    action.name: action
    for action in (
        BulkAction(
            "refresh",
            "Refresh",
            "refresh",
            "Each gets a new token now. Its automations go on meanwhile.",
        ),
        BulkAction(
            "deactivate",
            "Switch off",
            "power",
            "Tokens are kept, but neither renewed nor handed out until you switch them on again.",
            is_dangerous=True,
        ),
        BulkAction(
            "snooze",
            "Snooze alerts about",
            "bell-off",
            "Nobody is told anything about them meanwhile. "
            "What gets worse ends the snooze of that account at once.",
            frozenset({State.HEALTHY, State.REFRESHING, State.UNINSTALLED}),
            "in order, or off",
        ),
    )
}


@staff_page(Permission.OPERATE)
def install_bulk(request: HtmxRequest) -> HttpResponse:
    """What an action would do to the selected accounts."""
    selection = read_selection(request, request.GET)
    return _preview(request, request.GET.get("action", ""), selection, SnoozeForm())


def _preview(
    request: HtmxRequest, name: str, selection: Selection, form: SnoozeForm
) -> HttpResponse:
    now, action = timezone.now(), ACTIONS.get(name)
    counts = selection.counts(now)
    states = snapshots.by_state(counts)
    skipped = sum(n for state, n in states.items() if action and state in action.skips)
    total = sum(counts.values())
    if action is None or total == skipped:
        messages.warning(request, "There is nothing to do for these accounts.")
        return redirect(_list(request))
    most = MOST_SWITCHED_OFF if name == "deactivate" else total
    number = min(total - skipped, most)
    affected = selection.rows.not_in_states(action.skips, now)
    context = {
        "action": action,
        "back_to": _list(request),
        "named": list(affected.order_by("name", "pk")[:MOST_NAMED]),
        "fields": selection.fields,
        "affected": number,
        "more": max(number - MOST_NAMED, 0),
        "left": total - skipped - number,
        "skipped": skipped,
        "summary": summarise(counts),
        "states": [(LOOKS[state], states[state]) for state in WORST_FIRST if states.get(state)],
        "form": form if name == "snooze" else None,
    }
    status = 400 if form.is_bound else 200
    return render(request, "dashboard/install_bulk.html", context, status=status)


@require_POST
@staff_page(
    Permission.OPERATE, no_audit="It is recorded as what it is: install.deactivate, for example."
)
def install_bulk_run(request: HtmxRequest) -> HttpResponse:
    selection = read_selection(request, request.POST)
    match request.POST.get("action"):
        case "refresh":
            return _refresh(request, selection)
        case "deactivate":
            return _deactivate(request, selection)
        case "snooze":
            return _snooze(request, selection)
        case _:
            messages.error(request, "There is no such action.")
            return redirect(_list(request))


@require_POST
@staff_page(
    Permission.OPERATE, no_audit="It is recorded as what it is: install.reactivate, for example."
)
def undo(request: HtmxRequest) -> HttpResponse:
    done = take_back(request)
    messages.info(request, done or "There is nothing to undo any more.")
    return redirect(next_page(request, _LIST))


def _refresh(request: HtmxRequest, selection: Selection) -> HttpResponse:
    ids = selection.rows.renewable().order_by().values_list("pk", flat=True)
    with transaction.atomic():
        job = bulk.create_job(ids.iterator(), caller=request.user.get_username())
        bulk.hand_to_worker(job)
        record(request, "install.bulk_refresh", target=job, total=job.total)
    return redirect("dashboard:job-detail", pk=job.pk)


def _deactivate(request: HtmxRequest, selection: Selection) -> HttpResponse:
    rows = selection.rows.renewable().order_by("name", "pk").values_list("pk", flat=True)
    ids = [str(pk) for pk in rows[:MOST_SWITCHED_OFF]]

    @atomically
    def deactivate() -> int:
        rows = selection.rows.model.objects.filter(pk__in=ids)
        n = ending.deactivate(rows, caller=request.user.get_username())
        record(request, "install.deactivate", count=n, ids=ids)
        return n

    n = deactivate()
    offer_undo(request, f"{accounts(n)} switched off.", "deactivate", ids)
    return redirect(_list(request))


def _snooze(request: HtmxRequest, selection: Selection) -> HttpResponse:
    form, now = SnoozeForm(request.POST), timezone.now()
    if not form.is_valid():
        return _preview(request, "snooze", selection, form)
    troubled = selection.rows.not_in_states(ACTIONS["snooze"].skips, now).order_by("pk")
    until, reason = form.until(now), form.cleaned_data["reason"]
    with transaction.atomic():
        n, moment = incidents.snooze_installs(
            troubled.iterator(), until=until, reason=reason, by=request.user.get_username()
        )
        record(request, "alert.snooze", count=n, reason=reason)
    offer_undo(
        request, f"No alerts about {accounts(n)} for a while.", "snooze", [moment.isoformat()]
    )
    return redirect(_list(request))


def _list(request: HtmxRequest) -> str:
    return list_as_shown(_LIST, request.POST or request.GET)
