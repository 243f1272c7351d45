"""Staff: who is invited, what each may do, who is switched off. Every door calls these functions.

Each of them must run in the transaction in which the caller records it; errors are sentences.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.signing import BadSignature, Signer
from django.db.models import Q, QuerySet
from django.utils import timezone

from access.models import Invitation, User
from access.roles import Role

_SIGNER = Signer(salt="access.invitation")


class PeopleError(Exception):
    """Why it cannot be done, in a sentence for the person who asked."""


def invite(
    username: str, *, email: str, role: Role, agencies: Iterable[str], invited_by: User
) -> Invitation:
    """Keep a place for somebody. An open invitation of the same name ends with it.

    Errors: PeopleError when the name or the address is taken.
    """
    _refuse_taken(username, email)
    open_invitations().filter(username__iexact=username).update(revoked_at=timezone.now())
    return Invitation.objects.create(
        username=username,
        email=email,
        role=role,
        agencies=sorted(set(agencies)),
        invited_by=invited_by.get_username(),
        ends_at=timezone.now() + settings.INVITATION_LIFE,
    )


def open_invitations() -> QuerySet[Invitation]:
    now = timezone.now()
    return Invitation.objects.filter(accepted_at=None, revoked_at=None, ends_at__gt=now)


def invitation_token(invitation: Invitation) -> str:
    """Return what the link carries. It is worth nothing once the invitation is over."""
    return _SIGNER.sign(str(invitation.pk))


def find_invitation(token: str, now: datetime) -> Invitation | None:
    """Return the invitation of this link while it can be accepted."""
    try:
        pk = _SIGNER.unsign(token)
    except BadSignature:
        return None
    invitation = Invitation.objects.filter(pk=pk).first()
    return invitation if invitation is not None and invitation.is_open(now) else None


def accept(invitation: Invitation, password: str) -> User:
    """Make the person, once.

    Errors: PeopleError when another click was first, or name or address are taken by now.
    """
    taken = Invitation.objects.filter(pk=invitation.pk, accepted_at=None, revoked_at=None)
    if not taken.update(accepted_at=timezone.now()):
        raise PeopleError("This invitation has been used.")
    _refuse_taken(invitation.username, invitation.email)
    person = User.objects.create_user(
        invitation.username,
        invitation.email,
        password,
        is_staff=True,
        agencies=invitation.agencies,
    )
    person.groups.set([Group.objects.get(name=invitation.role)])
    return person


def change_role(person: User, role: Role, agencies: Iterable[str], *, by: User) -> None:
    """Give the person this one role, for these agencies (none: for all).

    Errors: PeopleError for oneself, and for the last owner.
    """
    _refuse_oneself(person, by, "change your own role")
    limited = sorted(set(agencies))
    if role is not Role.OWNER or limited:
        _keep_an_owner(person)
    person.is_superuser = person.is_superuser and role is Role.OWNER
    person.agencies = limited
    person.save(update_fields=["is_superuser", "agencies"])
    person.groups.set([Group.objects.get(name=role)])


def deactivate(person: User, *, by: User) -> None:
    """Switch the person off and end their sessions. Errors: PeopleError as for `change_role`."""
    _refuse_oneself(person, by, "switch yourself off")
    _keep_an_owner(person)
    User.objects.filter(pk=person.pk).update(is_active=False)
    end_sessions(person)


def reactivate(person: User) -> None:
    User.objects.filter(pk=person.pk).update(is_active=True)


def reset_second_factor(person: User) -> int:
    """Take away what the person has lost, and end their sessions; return how many factors went."""
    deleted, _ = Authenticator.objects.filter(user=person).delete()
    end_sessions(person)
    return deleted


def end_sessions(person: User) -> None:
    for session in UserSession.objects.filter(user=person):
        session.end()


def owners() -> QuerySet[User]:
    """Superusers and owners, those limited to some agencies among them."""
    manages = Q(is_superuser=True) | Q(groups__permissions__codename="manage_people")
    return User.objects.filter(manages, is_active=True, is_staff=True).distinct()


def _refuse_taken(username: str, email: str) -> None:
    if User.objects.filter(username__iexact=username).exists():
        raise PeopleError(f"There is a person called {username} already.")
    if email and User.objects.filter(email__iexact=email).exists():
        raise PeopleError(f"There is a person with the address {email} already.")


def _refuse_oneself(person: User, by: User, what: str) -> None:
    if person.pk == by.pk:
        raise PeopleError(f"You cannot {what}; another owner can.")


def _keep_an_owner(person: User) -> None:
    """Two owners may remove each other at the same moment: the second one waits for the first."""
    ids = owners().values("pk")
    locked = User.objects.select_for_update().filter(pk__in=list(ids.values_list("pk", flat=True)))
    left = [owner for owner in locked.order_by("pk") if owner.is_active and not owner.agencies]
    if [owner.pk for owner in left] == [person.pk]:
        raise PeopleError(f"{person} is the last owner. Make somebody else an owner first.")
