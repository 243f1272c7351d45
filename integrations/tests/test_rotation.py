"""Rotating the keys that tokens are sealed with, while everything runs."""

from __future__ import annotations

import base64
import inspect
import itertools
import json
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from access.keys import create_api_key
from access.models import AuditEvent, Scope
from integrations import rotation, tasks
from integrations.crypto import DecryptError, key_id_of, keyring
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, KeyRotation
from integrations.refresh import refresh_integration
from integrations.sealed import SEALED, Sealed
from sandbox.world import World

OLD = f"k1:{base64.b64encode(bytes(range(32))).decode()}"
NEW = f"k2:{base64.b64encode(bytes(range(100, 132))).decode()}"
Install = Callable[..., GoHighLevelIntegration]
ROWS = GoHighLevelIntegration.objects


@pytest.fixture
def on_the_old_key(settings: Any, make_install: Install) -> Callable[[int], list[Any]]:
    """Seal some installs with the old key; then the new one stands in front of it."""

    def make(n: int, **fields: Any) -> list[Any]:
        settings.TOKEN_ENCRYPTION_KEYS = OLD
        rows = [make_install(**fields) for _ in range(n)]
        settings.TOKEN_ENCRYPTION_KEYS = f"{NEW},{OLD}"
        return rows

    return make


def rotate(*options: str, capsys: Any) -> tuple[int, str]:
    """Run the command; return its exit status and what it printed."""
    status = 0
    try:
        call_command("rotate_token_keys", *options)
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    return status, capsys.readouterr().out


def test_all_tokens_move_to_the_new_key_and_the_old_one_can_go(
    on_the_old_key: Any, settings: Any, capsys: Any
) -> None:
    rows = on_the_old_key(3)
    assert rotate("--check", capsys=capsys) == (
        1,
        "3 rows on the old key k1: do not remove it. If this stays after a rotation, a process "
        "that was not restarted still seals with it.\n",
    )
    assert rotate(capsys=capsys) == (0, "0 rows on the old key k1: safe to remove.\n")
    settings.TOKEN_ENCRYPTION_KEYS = NEW
    for row in rows:
        row.refresh_from_db()
        assert row.key_id == "k2"
        assert row.open_access_token() == f"access-{row.pk}"
        assert row.open_refresh_token() == f"refresh-{row.pk}"
    done = AuditEvent.objects.get(action="keys.rotated")
    assert (done.outcome, done.details["rows"], done.details["left"]) == ("done", 3, 0)


def test_it_prints_one_json_object(on_the_old_key: Any, capsys: Any) -> None:
    on_the_old_key(2)
    status, text = rotate("--check", "--json", capsys=capsys)
    assert status == 1
    assert json.loads(text) == {
        "key_id": "k2",
        "left": {"k1": 2},
        "lost": {},
        "safe_to_remove": [],
        "unreadable": 0,
    }
    status, text = rotate("--json", capsys=capsys)
    assert (status, json.loads(text)["safe_to_remove"]) == (0, ["k1"])


def test_with_one_key_there_is_nothing_to_do(db: None, capsys: Any) -> None:
    status, text = rotate(capsys=capsys)
    assert status == 0 and text.startswith("There is one key, t1.")
    assert not KeyRotation.objects.exists()


def test_a_row_that_no_key_opens_stops_nothing_and_is_looked_after(
    on_the_old_key: Any, capsys: Any
) -> None:
    damaged, healthy = on_the_old_key(2)
    for column in ("access_token_encrypted", "refresh_token_encrypted"):
        altered = bytearray(getattr(damaged, column))
        altered[-1] ^= 1
        GoHighLevelIntegration.objects.filter(pk=damaged.pk).update(**{column: bytes(altered)})
    status, text = rotate(capsys=capsys)
    assert status == 0
    assert "1 rows cannot be opened with any key" in text
    assert "0 rows on the old key k1: safe to remove." in text
    healthy.refresh_from_db()
    assert healthy.open_access_token() == f"access-{healthy.pk}"
    tasks.tick()
    damaged.refresh_from_db()
    assert damaged.status == Status.DAMAGED


@pytest.mark.parametrize(
    ("keys", "key_id"), [(NEW, "k1"), (NEW.replace("k2", "k1"), "k1")], ids=["gone", "another one"]
)
def test_a_key_that_is_lost_is_told(
    make_install: Install, settings: Any, capsys: Any, keys: str, key_id: str
) -> None:
    settings.TOKEN_ENCRYPTION_KEYS = OLD
    for _ in range(3):
        make_install()
    assert rotate("--check", capsys=capsys)[0] == 0
    settings.TOKEN_ENCRYPTION_KEYS = keys
    status, text = rotate("--check", capsys=capsys)
    assert (status, f"3 rows are sealed with a key {key_id}" in text) == (1, True)
    status, text = rotate("--check", "--json", capsys=capsys)
    assert (status, json.loads(text)["lost"]) == (1, {key_id: 3})


@pytest.mark.django_db
def test_a_lost_key_of_a_small_table_is_told(settings: Any, capsys: Any) -> None:
    settings.TOKEN_ENCRYPTION_KEYS = OLD
    Channel = apps.get_model("alerts", "Channel")
    channel = Channel(name="Ops", digest_at=timezone.now(), created_at=timezone.now())
    binding = f"alert channel|address|{channel.pk}"
    channel.address_encrypted = keyring().encrypt("mailto://ops@agency.test", binding)
    channel.save()
    settings.TOKEN_ENCRYPTION_KEYS = NEW
    assert json.loads(rotate("--check", "--json", capsys=capsys)[1])["lost"] == {"k1": 1}


@pytest.mark.django_db
def test_a_check_without_the_database_says_so(capsys: Any) -> None:
    def away(*args: Any) -> None:
        raise OperationalError("connection refused")

    with connection.execute_wrapper(away), pytest.raises(CommandError) as refused:
        rotate("--check", capsys=capsys)
    assert refused.value.returncode == 1
    assert "the database does not answer" in str(refused.value)


def test_what_was_erased_is_no_reason_to_keep_a_key(on_the_old_key: Any, capsys: Any) -> None:
    (row,) = on_the_old_key(1)
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        access_token_encrypted=b"", refresh_token_encrypted=b""
    )
    assert rotate(capsys=capsys)[0] == 0


def test_what_an_older_version_wrote_after_migrate_moves_too(
    on_the_old_key: Any, settings: Any, capsys: Any
) -> None:
    """Version 0.1 knows nothing of the column, so the database fills it."""
    row, damaged, _named = on_the_old_key(3)
    ROWS.filter(pk__in=[row.pk, damaged.pk]).update(key_id="")
    ROWS.filter(pk=damaged.pk).update(
        access_token_encrypted=b"\x02k1rubbish", refresh_token_encrypted=b""
    )
    assert rotation.rows_left().by_key == {"k1": 2}
    assert rotate(capsys=capsys)[0] == 0
    settings.TOKEN_ENCRYPTION_KEYS = NEW
    row.refresh_from_db()
    assert row.key_id == "k2"
    assert row.open_refresh_token() == f"refresh-{row.pk}"


def test_a_process_with_the_old_order_of_keys_turns_nothing_back(
    on_the_old_key: Any, settings: Any
) -> None:
    """The worker was not restarted when the keys changed, and gets the task."""
    on_the_old_key(2)
    begun = rotation.start(by="olga")
    settings.TOKEN_ENCRYPTION_KEYS = f"{OLD},{NEW}"
    tasks.rotate_keys(begun.pk)
    assert set(GoHighLevelIntegration.objects.values_list("key_id", flat=True)) == {"k1"}
    begun.refresh_from_db()
    assert begun.ended_at is None


def test_a_stored_token_names_its_key(install_location: Install, settings: Any) -> None:
    row = install_location()
    assert row.key_id == "t1" == key_id_of(row.access_token_encrypted)
    settings.TOKEN_ENCRYPTION_KEYS = f"{NEW},{settings.TOKEN_ENCRYPTION_KEYS}"
    refresh_integration(row.pk, trigger="test")
    row.refresh_from_db()
    assert row.key_id == "k2" == key_id_of(row.refresh_token_encrypted)


def test_the_worker_goes_on_with_a_rotation_that_was_cut_off(
    on_the_old_key: Any,
) -> None:
    on_the_old_key(2)
    begun = rotation.start(by="olga")
    long_ago = timezone.now() - rotation.STALLED_AFTER * 2
    KeyRotation.objects.filter(pk=begun.pk).update(beat_at=long_ago)
    rotation.ring_if_stalled()
    rotation.ring_if_stalled()
    assert [row.task["args"] for row in OrmQ.objects.all()] == [(begun.pk,)]
    assert rotation.start(by="somebody else") == begun
    assert tasks.rotate_keys(begun.pk) is True
    assert rotation.rows_left().total == 0


def test_counting_what_is_left_takes_a_query_for_each_table_and_key(
    on_the_old_key: Any, django_assert_num_queries: Any
) -> None:
    on_the_old_key(30)
    with_column = sum(bool(sealed.key_column) for sealed in SEALED)
    with django_assert_num_queries(len(SEALED) + with_column):
        assert rotation.rows_left().total == 30


@pytest.mark.django_db(transaction=True)
def test_what_is_left_is_found_by_an_index(on_the_old_key: Any) -> None:
    on_the_old_key(1)
    query = GoHighLevelIntegration.objects.order_by().filter(key_id__in=["k1"]).values("pk")
    if connection.vendor == "postgresql":  # a small table is read whole unless told otherwise
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
            assert "install_key" in query.explain()
            cursor.execute("RESET enable_seqscan")
    else:
        assert "install_key" in query.explain()


# --- At the same time ---


@pytest.mark.django_db(transaction=True)
def test_eight_readers_see_no_error_while_it_runs(on_the_old_key: Any) -> None:
    rows = on_the_old_key(120)
    _key, text = create_api_key("billing", scopes=Scope.values)
    begun, done = threading.Barrier(9), threading.Event()
    seen: list[tuple[int, bool]] = []

    def read(first: int) -> None:
        client = Client(headers={"Authorization": f"Bearer {text}"})
        begun.wait()
        n = first
        while not done.is_set() or n < first + 10:
            row = rows[n % len(rows)]
            answer = client.get(f"/app/get-token/{row.pk}/")
            seen.append((answer.status_code, f"access-{row.pk}" in answer.content.decode()))
            n += 1
        connections.close_all()

    readers = [threading.Thread(target=read, args=(n * 15,)) for n in range(8)]
    for reader in readers:
        reader.start()
    begun.wait()
    call_command("rotate_token_keys")
    done.set()
    for reader in readers:
        reader.join()
    assert len(seen) >= 80
    assert set(seen) == {(200, True)}
    assert rotation.rows_left().total == 0


def test_a_row_that_was_renewed_after_it_was_read_keeps_its_newer_tokens(
    world: World, settings: Any, install_location: Install
) -> None:
    row = install_location()
    settings.TOKEN_ENCRYPTION_KEYS = f"{NEW},{settings.TOKEN_ENCRYPTION_KEYS}"
    installs = next(sealed for sealed in SEALED if sealed.model is GoHighLevelIntegration)
    (read,) = rotation._batch(installs, keyring())
    refresh_integration(row.pk, trigger="test")
    row.refresh_from_db()
    newer = row.open_access_token(), row.open_refresh_token()
    rotation._reseal(installs, read, keyring())
    row.refresh_from_db()
    assert (row.open_access_token(), row.open_refresh_token()) == newer


@pytest.mark.django_db(transaction=True)
def test_renewals_and_rotations_over_the_same_rows_lose_no_token(
    world: World, settings: Any, install_location: Install
) -> None:
    """Renewals and rotations race over the same rows; each row must hold the one refresh token
    that HighLevel still takes."""
    world.set_knobs({"refresh_grace_seconds": 0})
    rows = [install_location() for _ in range(6)]
    keys = [settings.TOKEN_ENCRYPTION_KEYS, NEW, OLD]
    stop = threading.Event()

    def renew() -> None:
        while not stop.is_set():
            for row in rows:
                refresh_integration(row.pk, trigger="test")
        connections.close_all()

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        for n in range(12):
            turn = n % len(keys)
            settings.TOKEN_ENCRYPTION_KEYS = ",".join(keys[turn:] + keys[:turn])
            rotation.run(rotation.start(by="test"))
    finally:
        stop.set()
        renewing.join()
    for row in rows:
        row.refresh_from_db()
        assert row.status == Status.ACTIVE
        assert refresh_integration(row.pk, trigger="test").success


def _die_after(rows: int) -> None:
    """Have kill -9 strike this process as soon as it has sealed so many rows."""
    reseal, count = rotation._reseal, itertools.count(1)

    def reseal_and_die(*arguments: Any) -> bool:
        readable = reseal(*arguments)
        if next(count) == rows:
            os.kill(os.getpid(), signal.SIGKILL)
        return readable

    rotation._reseal = reseal_and_die


@pytest.mark.django_db(transaction=True)
def test_killed_in_the_middle_it_goes_on_where_it_was(
    on_the_old_key: Any, settings: Any, capsys: Any
) -> None:
    on_the_old_key(600)
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            _die_after(300)
            call_command("rotate_token_keys")
        finally:
            os._exit(0)
    _pid, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert GoHighLevelIntegration.objects.filter(key_id="k2").count() == 300
    for row in GoHighLevelIntegration.objects.all():
        assert row.open_access_token() == f"access-{row.pk}"
    assert rotate(capsys=capsys)[0] == 0
    assert KeyRotation.objects.count() == 1
    settings.TOKEN_ENCRYPTION_KEYS = NEW
    for row in GoHighLevelIntegration.objects.all():
        assert row.open_refresh_token() == f"refresh-{row.pk}"


def test_a_copied_ciphertext_does_not_survive_a_rotation_as_somebody_elses(
    on_the_old_key: Any, capsys: Any
) -> None:
    one, other = on_the_old_key(2)
    GoHighLevelIntegration.objects.filter(pk=one.pk).update(
        access_token_encrypted=other.access_token_encrypted
    )
    rotate(capsys=capsys)
    one.refresh_from_db()
    with pytest.raises(DecryptError):
        one.open_access_token()
    assert one.open_refresh_token() == f"refresh-{one.pk}"


def test_no_table_with_ciphertexts_is_left_out() -> None:
    """A column that holds one is named …_encrypted."""
    columns = {
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if field.name.endswith("_encrypted")
    }
    assert columns == {(sealed.model, column) for sealed in SEALED for column in sealed.columns}
    assert len(columns) >= 2


@pytest.mark.django_db
@pytest.mark.parametrize("sealed", SEALED, ids=lambda sealed: sealed.model.__name__)
def test_each_binding_is_the_one_that_its_model_uses(sealed: Sealed) -> None:
    """What the model seals, a rotation opens: the bindings are written in two places."""
    row = sealed.model()
    for column, place in sealed.columns.items():
        field = column.removesuffix("_encrypted")
        takes_field = len(inspect.signature(row.seal).parameters) == 2
        ciphertext = row.seal(field, "secret") if takes_field else row.seal("secret")
        assert keyring().decrypt(ciphertext, f"{place}|{row.pk}") == "secret"
