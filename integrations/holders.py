"""Who holds a lease: a process, named so that others on its machine see when it has died.

A lease is long, since nobody may use an install's refresh token while its holder still could. Of a
holder that is dead that is known at once, and HighLevel forgives a repeat for a short time only:
whoever sees the death goes on in its place. A holder elsewhere, or in another container, cannot be
seen from here; then the lease runs out.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from hashlib import sha256
from pathlib import Path

from django.db.models.functions import Now
from django.utils import timezone
from django_q.tasks import async_task

from integrations.models import GoHighLevelIntegration, RefreshAttempt

_DEAD_STATES = ("Z", "X")  # killed, and not yet taken note of by its parent


def this_process() -> str:
    """Return "place:pid:start", which no other process ever has; empty where the system does not
    tell (it is no Linux)."""
    try:
        _state, start = _state_and_start(os.getpid())
        return f"{_place()}:{os.getpid()}:{start}"
    except OSError:
        return ""


def is_gone(holder: str) -> bool:
    """Whether this process has certainly ended. One that cannot be seen from here has not."""
    try:
        place, pid, start = holder.split(":")
        if place != _place():
            return False
        os.kill(int(pid), 0)
        state, present_start = _state_and_start(int(pid))
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return state in _DEAD_STATES or start != present_start


def call_back_abandoned() -> int:
    """Have the worker renew at once what a dead process of this place was renewing; return how
    many there are."""
    now = timezone.now()
    # In one query, by index: what runs is little.
    running = RefreshAttempt.objects.filter(
        outcome=RefreshAttempt.RUNNING, integration__lease_until__gt=Now()
    )
    held = running.values_list("integration", "integration__lease_holder").distinct()
    abandoned = [pk for pk, holder in held if is_gone(holder)]
    if not abandoned:
        return 0
    woken = GoHighLevelIntegration.objects.filter(pk__in=abandoned, renew_at__gt=now)
    if called_back := woken.update(renew_at=now):
        async_task("integrations.tasks.tick")
    return called_back


@cache
def _place() -> str:
    """One boot of one machine, and in it one world of process ids, such as a container."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    world = os.readlink("/proc/self/ns/pid")
    return sha256(f"{socket.gethostname()} {boot} {world}".encode()).hexdigest()[:16]


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return its state's letter and when it began, in ticks since the boot (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]
