from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from access.keys import create_api_key, find_api_key
from access.models import ApiKey, Scope

pytestmark = pytest.mark.django_db

LIST = "/app/list/"


def make_key(**options) -> tuple[ApiKey, str]:
    return create_api_key("billing", **({"scopes": [Scope.INTEGRATIONS_READ]} | options))


def call(text: str, path: str = LIST, **extra):
    return Client().get(path, headers={"Authorization": f"Bearer {text}"}, **extra)


def test_a_key_opens_what_its_scopes_say_and_nothing_else():
    _key, text = make_key()
    assert call(text).status_code == 200
    answer = call(text, f"/app/get-token/{uuid4()}/")
    assert (answer.status_code, answer.json()["error"]) == (403, "key_lacks_scope")


def test_a_keys_text_is_nowhere_in_the_database():
    key, text = make_key()
    secret = text.split("_", 2)[2]
    stored = str(ApiKey.objects.values().get(pk=key.pk))
    assert secret[:8] not in stored
    assert len(key.digest) == 64


def test_two_keys_are_never_alike():
    texts = {make_key()[1] for _ in range(20)}
    assert len(texts) == 20
    assert min(len(text) for text in texts) > 50


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text + "A",
        lambda text: text.upper(),
        lambda text: text.rpartition("_")[0],
        lambda text: text.removeprefix("wr_"),
        lambda text: "",
        lambda text: "wr_",
        lambda text: "wr__",
        lambda text: "é",
    ],
)
def test_an_altered_key_opens_nothing(spoil):
    _key, text = make_key()
    answer = call(spoil(text))
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"


def test_the_secret_of_one_key_does_not_go_with_the_prefix_of_another():
    (first, text), (_second, other) = make_key(), make_key()
    assert find_api_key(f"wr_{first.prefix}_{other.split('_', 2)[2]}") is None
    assert find_api_key(text) == first


@pytest.mark.parametrize("kind", ["Basic", "Token", ""])
def test_only_bearer_is_understood(kind):
    _key, text = make_key()
    assert Client().get(LIST, headers={"Authorization": f"{kind} {text}"}).status_code == 401


def test_an_expired_key_opens_nothing():
    _key, text = make_key(expires_at=timezone.now() - timedelta(seconds=1))
    assert call(text).status_code == 401


def test_a_key_works_until_it_expires():
    key, text = make_key(expires_at=timezone.now() + timedelta(minutes=1))
    assert call(text).status_code == 200
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())
    assert call(text).status_code == 401


def test_a_disabled_key_opens_nothing():
    key, text = make_key()
    ApiKey.objects.filter(pk=key.pk).update(disabled_at=timezone.now())
    assert call(text).status_code == 401


def test_a_limited_key_sees_its_own_installs_alone(make_install):
    own, other = make_install(), make_install()
    _key, text = make_key(scopes=Scope.values, installs=[str(own.pk)])
    assert [row["id"] for row in call(text).json()["integrations"]] == [str(own.pk)]
    assert call(text, f"/app/get-token/{own.pk}/").status_code == 200
    for path in ("get-token", "status"):
        answer = call(text, f"/app/{path}/{other.pk}/")
        assert (answer.status_code, answer.json()["error"]) == (403, "key_lacks_install")


def test_a_limited_key_cannot_tell_which_other_installs_exist(make_install):
    other = make_install()
    _key, text = make_key(scopes=Scope.values, installs=[str(make_install().pk)])
    known, unknown = (call(text, f"/app/status/{pk}/") for pk in (other.pk, uuid4()))
    assert (known.status_code, known.json()) == (unknown.status_code, unknown.json())


def test_the_last_use_is_remembered_with_its_address():
    key, text = make_key()
    call(text, REMOTE_ADDR="192.0.2.7")
    key.refresh_from_db()
    assert timezone.now() - key.last_used_at < timedelta(seconds=10)
    assert key.last_used_address == "192.0.2.7"


def test_the_last_use_is_written_once_a_minute_but_at_once_for_a_new_address():
    key, text = make_key()
    call(text, REMOTE_ADDR="192.0.2.7")
    just_now = timezone.now() - timedelta(seconds=30)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=just_now, last_used_address="192.0.2.7")
    call(text, REMOTE_ADDR="192.0.2.7")
    key.refresh_from_db()
    assert key.last_used_at == just_now
    call(text, REMOTE_ADDR="192.0.2.8")
    key.refresh_from_db()
    assert (key.last_used_at > just_now, key.last_used_address) == (True, "192.0.2.8")


def test_a_refused_key_leaves_no_trace_of_use():
    key, text = make_key()
    call(text[:-1])
    call(text, f"/app/get-token/{uuid4()}/")
    key.refresh_from_db()
    assert key.last_used_at is None


def test_a_key_is_found_in_one_query(django_assert_num_queries):
    for _ in range(10):
        _key, text = make_key()
    with django_assert_num_queries(1):
        assert find_api_key(text) is not None


def test_nobody_makes_or_reads_a_key_in_the_admin(client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser("olga"))
    key, text = make_key()
    assert client.get("/admin/access/apikey/add/").status_code == 403
    page = client.get(f"/admin/access/apikey/{key.pk}/change/").content.decode()
    assert text.split("_", 2)[2] not in page
    assert key.digest not in page
