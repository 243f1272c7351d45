"""The files of deploy/, judged by the tools that will read them.

A tool that is not on this machine skips its test and says which package has it; in CI, where all
of them are installed, that is a failure.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings
from django.core.management import get_commands
from django.test import Client

from alerts import watchdog
from integrations import heartbeat

pytestmark = pytest.mark.one_database

ROOT = Path(settings.BASE_DIR)
DEPLOY = ROOT / "deploy"


def tool(name: str, package: str) -> str:
    """Return where the tool is."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        missing = f"{name} is missing: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def run(*command: str, cwd: Path = ROOT) -> str:
    """Return what it printed; it must succeed."""
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# --- systemd ---


def test_systemd_accepts_the_units(tmp_path):
    analyze = tool("systemd-analyze", "systemd")
    units = []
    for unit in sorted((DEPLOY / "systemd").iterdir()):
        # On this machine the project lies elsewhere, and systemd looks for the programs.
        text = unit.read_text().replace("/srv/whatreach", str(ROOT))
        copy = tmp_path / unit.name
        copy.write_text(
            re.sub(r"^ExecStart=\S+\.venv/bin/\w+", "ExecStart=/bin/true", text, flags=re.M)
        )
        units.append(str(copy))
    assert len(units) == 6
    assert run(analyze, "verify", *units) == ""


def test_the_worker_is_stopped_by_its_first_process_alone():
    unit = (DEPLOY / "systemd" / "whatreach-worker.service").read_text()
    for line in ("KillMode=mixed", "Restart=always", "TimeoutStopSec=150"):
        assert line in unit.splitlines()


def seconds_of(unit: str, setting: str) -> float:
    """Return a span of time that a unit sets, such as "1min" or "5s"."""
    text = (DEPLOY / "systemd" / unit).read_text()
    found = re.search(rf"^{setting}=(\d+)(s|min)?$", text, flags=re.M)
    assert found, f"{unit} sets no {setting}"
    return float(found[1]) * (60 if found[2] == "min" else 1)


def test_the_watchdog_tells_within_three_minutes_that_the_worker_died():
    next_run = sum(
        seconds_of("whatreach-watchdog.timer", setting)
        for setting in ("OnUnitActiveSec", "AccuracySec")
    )
    look = watchdog.PATIENCE_S
    assert heartbeat.STALE_AFTER.total_seconds() + next_run + look <= 180
    # It has the time to tell, too, before systemd ends it, and one ends before the next begins.
    assert look < seconds_of("whatreach-watchdog.service", "TimeoutStartSec") <= next_run


# --- TLS proxies ---


def make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatreach.example.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def test_nginx_accepts_its_example(tmp_path):
    nginx = tool("nginx", "nginx-light")
    make_certificate(tmp_path)
    example = (DEPLOY / "nginx.conf").read_text()
    example = example.replace("/etc/ssl/whatreach", str(tmp_path))
    example = example.replace("/var/log/nginx", str(tmp_path))
    (tmp_path / "site.conf").write_text(example)
    around = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ include site.conf; }}"
    (tmp_path / "nginx.conf").write_text(around)
    output = run(nginx, "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"))
    assert "test is successful" in output
    assert "[warn]" not in output


def test_caddy_accepts_its_example():
    caddy = tool("caddy", "caddy")
    output = run(caddy, "validate", "--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile")
    assert "Valid configuration" in output


def test_both_proxies_keep_the_metrics_inside():
    assert "location = /metrics" in (DEPLOY / "nginx.conf").read_text()
    assert "respond /metrics 404" in (DEPLOY / "Caddyfile").read_text()


# --- Prometheus and Grafana ---


def metric_names(expression: str) -> set[str]:
    names = set(re.findall(r"\bwhatreach_\w+", expression))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "whatreach.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_promtool_accepts_the_alert_rules_and_they_fire_as_they_should():
    promtool = tool("promtool", "prometheus")
    folder = DEPLOY / "prometheus"
    run(promtool, "check", "rules", "whatreach.rules.yml", cwd=folder)
    run(promtool, "test", "rules", "whatreach.test.yml", cwd=folder)


def test_promtool_accepts_the_configuration_of_the_docs(tmp_path):
    text = (
        (ROOT / "docs" / "operations.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    )
    shutil.copy(DEPLOY / "prometheus" / "whatreach.rules.yml", tmp_path)
    (tmp_path / "whatreach.key").write_text("the key")
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus", str(tmp_path)))
    run(tool("promtool", "prometheus"), "check", "config", str(config))


def test_promtool_accepts_every_query_of_the_dashboard(tmp_path):
    promtool = tool("promtool", "prometheus")
    rules = [{"record": f"panel{n}", "expr": expr} for n, expr in enumerate(expressions())]
    # JSON is YAML too.
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))
    run(promtool, "check", "rules", str(tmp_path / "rules.yml"))


@pytest.mark.django_db
def test_promtool_accepts_what_metrics_shows(settings, install_location, tmp_path):
    promtool = tool("promtool", "prometheus")
    install_location()
    settings.METRICS_TOKEN = "key"
    text = Client(headers={"Authorization": "Bearer key"}).get("/metrics").content
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.django_db
def test_dashboard_and_alerts_name_only_metrics_that_there_are(
    settings, make_install, client, tmp_path
):
    from integrations.models import RefreshAttempt
    from operations import renewal_counts
    from operations.tests.test_metrics import make_attempt

    heartbeat.beat(heartbeat.WORKER)
    renewal_counts.read()
    make_attempt(make_install(), outcome=RefreshAttempt.RENEWED)
    client.get("/")
    settings.METRICS_TOKEN = "key"
    shown = Client(headers={"Authorization": "Bearer key"}).get("/metrics").content.decode()
    known = metric_names(shown)
    rules = (DEPLOY / "prometheus" / "whatreach.rules.yml").read_text()
    for text in (rules, *expressions()):
        assert metric_names(text) - known == set()


# --- The rest ---


@pytest.mark.parametrize("script", ["backup.sh", "restore.sh"])
def test_the_scripts_are_good_shell_and_may_be_run(script):
    run("sh", "-n", str(DEPLOY / script))
    assert os.access(DEPLOY / script, os.X_OK)


@pytest.mark.parametrize(
    ("name", "says"), [("Dockerfile", "Not built here"), ("compose.yaml", "Not started here")]
)
def test_what_is_not_built_or_started_here_says_so(name, says):
    assert says in (DEPLOY / name).read_text().splitlines()[0]


def test_docker_compose_accepts_its_file(tmp_path):
    compose = tool("docker-compose", "docker-compose")
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=abc123\n")
    run(compose, "-f", "deploy/compose.yaml", "--env-file", ".env", "config", cwd=tmp_path)


def test_what_the_containers_start_and_read_is_there():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"database", "migrate", "web", "worker"}
    names = set((ROOT / ".env.example").read_text().replace("#", "").split())
    known = {name.partition("=")[0] for name in names}
    for service in (services["migrate"], services["web"], services["worker"]):
        build = service["build"]
        context = DEPLOY / build["context"]
        assert (context / build["dockerfile"]).is_file()
        assert (DEPLOY / service["env_file"]).parent.resolve() == ROOT
        assert set(service["environment"]) <= known
        assert set(service["depends_on"]) <= set(services)
        if "command" in service:
            assert service["command"].split()[:2] == ["python", "manage.py"]
            assert service["command"].split()[2] in get_commands()
    assert services["web"]["ports"] == ["127.0.0.1:8000:8000"]


def test_the_health_check_of_the_image_asks_an_address_that_answers(client, settings):
    settings.ALLOWED_HOSTS = ["whatreach.example.com", "127.0.0.1"]
    asked = re.search(r"http://(127.0.0.1:8000)(/\w+)", (DEPLOY / "Dockerfile").read_text())
    assert client.get(asked[2], headers={"host": asked[1]}).status_code == 200


def test_no_key_and_no_database_gets_into_the_image():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".env", ".git", "var", "**/*.sqlite3*"} <= set(ignored)


def test_each_program_is_started_the_same_way_everywhere():
    files = [ROOT / "Procfile", *(DEPLOY / "systemd").glob("whatreach-w[eo]*.service")]
    files += [DEPLOY / "Dockerfile", DEPLOY / "compose.yaml"]
    text = "\n".join(file.read_text() for file in files).replace('", "', " ")
    assert text.count("gunicorn config.wsgi -c gunicorn.conf.py") == 3
    assert text.count("manage.py qcluster") == 3
