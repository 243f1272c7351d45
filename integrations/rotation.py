"""Rotation of the keys that tokens are sealed with, while everything runs.

What is sealed with an old key is opened and sealed again with the present one, row by row. How
far it is, the rows themselves say, so a rotation that was cut off goes on where it was. A row is
written only over the very ciphertexts that were read: a token stored meanwhile is newer, and is
sealed with the present key anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q
from django.utils import timezone
from django_q.tasks import async_task

from access.audit import record_system
from access.models import AuditEvent
from integrations.crypto import DecryptError, Keyring, key_id_of, keyring
from integrations.models import GoHighLevelIntegration, KeyRotation
from integrations.sealed import SEALED, Sealed, register

BATCH = 200
SAMPLE = 20
# A rotation that shows no sign of life for so long was cut off; the tick rings for it again.
STALLED_AFTER = timedelta(seconds=60)


@dataclass(frozen=True)
class Left:
    """How many rows are sealed with which old key, {key id: rows}."""

    by_key: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.by_key.values())


def rows_left() -> Left:
    """Count what is still sealed with an old key: indexed queries, one or two for each table and
    key."""
    ring = keyring()
    counted = dict.fromkeys(ring.old_ids, 0)
    for sealed in SEALED:
        for key_id in counted:
            if sealed.key_column:
                counted[key_id] += sealed.rows.filter(**{sealed.key_column: key_id}).count()
            counted[key_id] += len(_found_by_opening(sealed, ring, {key_id}))
    return Left(counted)


def rows_lost() -> dict[str, int]:
    """Count what is sealed with a key that we do not have, {key id: rows}: one of another id, or
    one whose id another key has now, so that it opens none of the first few rows.

    Reads the index of a large table whole, so not for pages.
    """
    ring = keyring()
    ours = {ring.present_id, *ring.old_ids}
    lost: Counter[str] = Counter()
    for sealed in SEALED:
        if not sealed.key_column:
            rows = sealed.rows.values("pk", *sealed.columns)
            named = ({key_id_of(row[column]) for column in sealed.columns} for row in rows)
            lost.update(key_id for ids in named for key_id in ids - ours if key_id)
            continue
        nothing = Q(**dict.fromkeys(sealed.columns, b""))
        sealed_rows = sealed.rows.exclude(nothing)
        names = sealed_rows.values_list(sealed.key_column).annotate(n=Count("pk"))
        for key_id, number in names.exclude(**{sealed.key_column: ""}):
            first = sealed_rows.filter(**{sealed.key_column: key_id}).values("pk", *sealed.columns)
            if key_id not in ours or not any(
                _open(sealed, row, column, ring) is not None
                for row in first[:SAMPLE]
                for column in sealed.columns
            ):
                lost[key_id] += number
    return dict(lost)


def under_way() -> KeyRotation | None:
    """The rotation to the present key that has not ended."""
    open_ones = KeyRotation.objects.filter(ended_at=None, key_id=keyring().present_id)
    return open_ones.order_by("-started_at").first()


def start(*, by: str) -> KeyRotation:
    """Begin a rotation, or go on with the one that is under way."""
    present = under_way()
    if present is not None:
        return present
    KeyRotation.objects.filter(ended_at=None).update(ended_at=timezone.now())
    return KeyRotation.objects.create(
        key_id=keyring().present_id, started_by=by, total=rows_left().total
    )


def hand_to_worker(rotation: KeyRotation) -> None:
    async_task("integrations.tasks.rotate_keys", rotation.pk)


def ring_if_stalled() -> None:
    """Have a rotation go on whose process died. Called by the tick."""
    stalled = KeyRotation.objects.filter(
        ended_at=None, beat_at__lt=timezone.now() - STALLED_AFTER
    ).first()
    if stalled is not None:
        KeyRotation.objects.filter(pk=stalled.pk).update(beat_at=timezone.now())
        hand_to_worker(stalled)


def run(rotation: KeyRotation, *, must_stop: Callable[[], bool] = lambda: False) -> bool:
    """Re-encrypt batch by batch; return whether nothing is left to do here.

    A process that was not restarted since the keys changed would turn the rows back: it does
    nothing.
    """
    ring = keyring()
    if ring.present_id != rotation.key_id:
        return True
    for sealed in SEALED:
        while found := _batch(sealed, ring):
            unreadable = sum(not _reseal(sealed, row, ring) for row in found)
            KeyRotation.objects.filter(pk=rotation.pk).update(
                beat_at=timezone.now(), unreadable=F("unreadable") + unreadable
            )
            if not sealed.key_column:
                break
            if must_stop():
                return False
    _end(rotation)
    return True


def _end(rotation: KeyRotation) -> None:
    left = rows_left().total
    with transaction.atomic():
        ended = KeyRotation.objects.filter(pk=rotation.pk, ended_at=None)
        if ended.update(ended_at=timezone.now()):
            rotation.refresh_from_db()
            record_system(
                "keys.rotated",
                by=rotation.started_by,
                outcome=AuditEvent.FAILED if left else AuditEvent.DONE,
                key_id=rotation.key_id,
                rows=rotation.total,
                unreadable=rotation.unreadable,
                left=left,
            )


def _batch(sealed: Sealed, ring: Keyring) -> list[dict[str, Any]]:
    """Some rows under an old key, as {"pk": …, column: ciphertext}. In no order: one that is done
    is not found again."""
    if sealed.key_column:
        old = sealed.rows.filter(**{f"{sealed.key_column}__in": ring.old_ids})
        if named := list(old.values("pk", *sealed.columns)[:BATCH]):
            return named
    return _found_by_opening(sealed, ring, set(ring.old_ids))


def _found_by_opening(sealed: Sealed, ring: Keyring, key_ids: set[str]) -> list[dict[str, Any]]:
    """The rows that do not name their key and hang on one of these: it opens something of theirs.

    Those are all of a small table; of a large one what a process of version 0.1 wrote between
    migrate and its restart.
    """

    def hangs_on_it(row: dict[str, Any], column: str) -> bool:
        opens = key_id_of(row[column]) in key_ids
        return opens and _open(sealed, row, column, ring) is not None

    rows = sealed.rows.values("pk", *sealed.columns)
    if sealed.key_column:
        nothing = Q(**dict.fromkeys(sealed.columns, b""))
        rows = rows.filter(~nothing, **{sealed.key_column: ""})
    return [row for row in rows if any(hangs_on_it(row, column) for column in sealed.columns)]


def _open(sealed: Sealed, row: dict[str, Any], column: str, ring: Keyring) -> str | None:
    try:
        return ring.decrypt(row[column], _binding(sealed, row, column))
    except DecryptError:
        return None


def _binding(sealed: Sealed, row: dict[str, Any], column: str) -> str:
    return f"{sealed.columns[column]}|{row['pk']}"


def _reseal(sealed: Sealed, row: dict[str, Any], ring: Keyring) -> bool:
    """Seal a row's texts again; return whether they could all be opened."""
    seen = {column: bytes(row[column] or b"") for column in sealed.columns}
    texts = {column: _open(sealed, row, column, ring) for column in seen if seen[column]}
    readable = None not in texts.values()
    columns: dict[str, Any] = {
        column: ring.encrypt(text, _binding(sealed, row, column))
        for column, text in texts.items()
        if text is not None
    }
    if sealed.key_column:
        # What no key opens hangs on no key any more.
        columns[sealed.key_column] = ring.present_id if columns or readable else ""
    if columns:
        sealed.rows.filter(pk=row["pk"], **seen).update(**columns)
    if not readable:
        sealed.on_unreadable(row["pk"])
    return readable


def _renew_soon(pk: Any) -> None:
    """The engine finds out what can be saved: a damaged access token is renewed, a damaged
    refresh token minted from the agency, else the install is marked as damaged."""
    GoHighLevelIntegration.objects.renewable().filter(pk=pk).update(renew_at=timezone.now())


register(
    Sealed(
        GoHighLevelIntegration,
        {
            "access_token_encrypted": "install|access_token",
            "refresh_token_encrypted": "install|refresh_token",
        },
        key_column="key_id",
        on_unreadable=_renew_soon,
    )
)
