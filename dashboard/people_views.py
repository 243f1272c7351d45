"""Pages about the staff themselves: who belongs here, invitations, and one's own account."""

from __future__ import annotations

import uuid
from typing import Any

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from allauth.core import ratelimit
from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_http_methods, require_POST

from access import people
from access.audience import Who, audience
from access.audit import record
from access.models import AuditEvent, Invitation, User
from access.people import PeopleError
from access.roles import Permission, Role
from dashboard.htmx import HtmxRequest, staff_page
from dashboard.people_forms import InvitationForm, NewPasswordForm, RoleForm, TimeZoneForm
from dashboard.people_mail import send_invitation
from dashboard.undo import offer_undo

PER_PAGE = 50


@staff_page(Permission.PEOPLE)
def people_list(request: HtmxRequest) -> HttpResponse:
    factors = Authenticator.objects.filter(user=OuterRef("pk")).exclude(
        type=Authenticator.Type.RECOVERY_CODES
    )
    everybody = User.objects.filter(is_staff=True).annotate(has_factor=Exists(factors))
    everybody = everybody.prefetch_related("groups").order_by("-is_active", "username")
    context = {
        "now": timezone.now(),
        "page": Paginator(everybody, PER_PAGE).get_page(request.GET.get("page")),
        "invitations": people.open_invitations().order_by("-ends_at")[:PER_PAGE],
    }
    return render(request, "dashboard/people_list.html", context)


@staff_page(Permission.PEOPLE, audit="person.invite", sudo=True)
def people_invite(request: HtmxRequest) -> HttpResponse:
    form = InvitationForm(request.POST or None, by=request.user)
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                invitation = people.invite(
                    form.cleaned_data["username"],
                    email=form.cleaned_data["email"],
                    role=form.cleaned_data["role"],
                    agencies=form.chosen_agencies(),
                    invited_by=request.user,
                )
                record(
                    request,
                    "person.invite",
                    target=invitation,
                    role=invitation.role,
                    agencies=invitation.agencies,
                )
        except PeopleError as error:
            form.add_error(None, str(error))
        else:
            link = _link(request, invitation)
            if send_invitation(invitation, link):
                messages.success(request, f"The link was sent to {invitation.email}.")
            return redirect("dashboard:people-invitation", pk=invitation.pk)
    status = 422 if form.errors else 200
    return render(request, "dashboard/people_invite.html", {"form": form}, status=status)


@staff_page(Permission.PEOPLE, sudo=True)
def people_invitation(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """The link of an open invitation, to copy."""
    invitation = get_object_or_404(people.open_invitations(), pk=pk)
    context = {
        "now": timezone.now(),
        "invitation": invitation,
        "link": _link(request, invitation),
    }
    return render(request, "dashboard/people_invitation.html", context)


@require_POST
@staff_page(Permission.PEOPLE, audit="person.revoke_invitation")
def people_invitation_revoke(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    invitation = get_object_or_404(people.open_invitations(), pk=pk)
    with transaction.atomic():
        Invitation.objects.filter(pk=pk, accepted_at=None).update(revoked_at=timezone.now())
        record(request, "person.revoke_invitation", target=invitation)
    messages.info(request, f"The invitation of {invitation} is over; its link opens nothing.")
    return redirect("dashboard:people-list")


@staff_page(Permission.PEOPLE, audit="person.change_role", sudo=True)
def people_edit(request: HtmxRequest, pk: int) -> HttpResponse:
    person = get_object_or_404(User.objects.prefetch_related("groups"), pk=pk, is_staff=True)
    initial = {"role": person.role, "agencies": person.agencies}
    form = RoleForm(request.POST or None, by=request.user, initial=initial)
    if request.method == "POST" and form.is_valid():
        role: Role = form.cleaned_data["role"]
        agencies = form.chosen_agencies()
        try:
            with transaction.atomic():
                before = {"role": person.role, "agencies": person.agencies}
                people.change_role(person, role, agencies, by=request.user)
                record(
                    request,
                    "person.change_role",
                    target=person,
                    before=before,
                    after={"role": role, "agencies": person.agencies},
                )
        except PeopleError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{person} is now {role.value}.")
            return redirect("dashboard:people-list")
    status = 422 if form.errors else 200
    context = {"form": form, "person": person, "now": timezone.now()}
    return render(request, "dashboard/people_edit.html", context, status=status)


@require_POST
@staff_page(Permission.PEOPLE, audit="person.deactivate", sudo=True)
def people_deactivate(request: HtmxRequest, pk: int) -> HttpResponse:
    person = get_object_or_404(User, pk=pk, is_staff=True)
    try:
        with transaction.atomic():
            people.deactivate(person, by=request.user)
            record(request, "person.deactivate", target=person)
    except PeopleError as error:
        record(request, "person.deactivate", target=person, outcome=AuditEvent.REFUSED)
        messages.error(request, str(error))
    else:
        text = f"{person} is switched off and signed out everywhere."
        offer_undo(request, text, "person", [str(person.pk)])
    return redirect("dashboard:people-list")


@require_POST
@staff_page(Permission.PEOPLE, audit="person.reactivate", sudo=True)
def people_reactivate(request: HtmxRequest, pk: int) -> HttpResponse:
    person = get_object_or_404(User, pk=pk, is_staff=True)
    with transaction.atomic():
        people.reactivate(person)
        record(request, "person.reactivate", target=person)
    messages.info(request, f"{person} can sign in again.")
    return redirect("dashboard:people-list")


@require_POST
@staff_page(Permission.PEOPLE, audit="person.reset_factor", sudo=True)
def people_reset_factor(request: HtmxRequest, pk: int) -> HttpResponse:
    person = get_object_or_404(User, pk=pk, is_staff=True)
    with transaction.atomic():
        people.reset_second_factor(person)
        record(request, "person.reset_factor", target=person)
    messages.info(request, f"{person} signs in with the password alone until they set up another.")
    return redirect("dashboard:people-list")


@require_http_methods(["GET", "HEAD", "POST"])
@audience(Who.ANYONE, needs="the link of an open invitation", audit="person.join")
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Where an invitation's link leads: choose a password, once, and be signed in."""
    limited = ratelimit.consume_or_429(request, action="reset_password_from_key")
    found = people.find_invitation(token, timezone.now())
    if limited or found is None:
        return limited or _no_invitation(request)
    form = NewPasswordForm(request.POST or None, invitation=found)
    if request.method == "POST" and form.is_valid():
        password = form.cleaned_data["password1"]
        try:
            with transaction.atomic():
                person = people.accept(found, password)
                record(request, "person.join", target=person, invited_by=found.invited_by)
        except PeopleError:
            return _no_invitation(request)
        return perform_password_login(
            request, {"username": person.username}, Login(user=person, redirect_url="/")
        )
    status = 422 if form.errors else 200
    context = {"form": form, "invitation": found}
    response = render(request, "dashboard/people_join.html", context, status=status)
    add_never_cache_headers(response)
    return response


@staff_page(audit="person.time_zone")
def own_account(request: HtmxRequest) -> HttpResponse:
    form = TimeZoneForm(request.POST or None, initial={"time_zone": request.user.time_zone})
    if request.method == "POST" and form.is_valid():
        zone = form.cleaned_data["time_zone"]
        with transaction.atomic():
            User.objects.filter(pk=request.user.pk).update(time_zone=zone)
            record(request, "person.time_zone", target=request.user, time_zone=zone or "UTC")
        messages.success(request, f"Times are shown in {zone or 'UTC'}.")
        return redirect("dashboard:own-account")
    factors = Authenticator.objects.filter(user=request.user)
    context: dict[str, Any] = {
        "form": form,
        "factors": factors.exclude(type=Authenticator.Type.RECOVERY_CODES).count(),
        "role": request.user.role,
    }
    status = 422 if form.errors else 200
    return render(request, "dashboard/people_me.html", context, status=status)


def _link(request: HttpRequest, invitation: Invitation) -> str:
    path = reverse("dashboard:invitation", args=[people.invitation_token(invitation)])
    return request.build_absolute_uri(path)


def _no_invitation(request: HttpRequest) -> HttpResponse:
    """The same words whether it never was, is used, revoked or over."""
    response = render(request, "dashboard/people_no_invitation.html", status=404)
    add_never_cache_headers(response)
    return response
