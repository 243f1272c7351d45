"""The documentation names what the code reads and offers."""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from alerts.kinds import Kind
from config import __version__
from integrations.causes import CAUSES

pytestmark = pytest.mark.one_database

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT_READERS = [
    ROOT / "config" / "settings.py",
    ROOT / "gunicorn.conf.py",
    *sorted((ROOT / "bootstrap").glob("*.py")),
]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = sorted(
    file
    for file in ROOT.glob("*/management/commands/*.py")
    if not file.stem.startswith("_") and ".venv" not in file.parts
)
PARAMETER = re.compile(r"<[^<>]*>|\{[^{}]*\}")


def names_read(source: str) -> set[str]:
    """Return the names that the source reads from the environment.

    That is the first argument of env(…), env.str(…), secret(…), environ.get(…), or environ[…].
    """
    nodes = ast.walk(ast.parse(source))
    constants = (_name_node(node) for node in nodes)
    return {node.value for node in constants if isinstance(node, ast.Constant)}


def _name_node(node: ast.AST) -> ast.expr | None:
    if isinstance(node, ast.Call) and node.args and _reads_environment(node.func):
        return node.args[0]
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("environ"):
        return node.slice
    return None


def _reads_environment(function: ast.expr) -> bool:
    called = ast.unparse(function)
    return bool(re.fullmatch(r"secret|env(\.\w+)?|(\w+\.)?environ\.get", called))


def environment_names() -> set[str]:
    return set().union(*(names_read(file.read_text()) for file in ENVIRONMENT_READERS))


def documented_paths() -> set[str]:
    text = "\n".join(file.read_text() for file in DOCS if file.exists())
    return {_normalised(path) for path in re.findall(r"/app/[\w./{}<>:-]*", text)}


def _normalised(path: str) -> str:
    return PARAMETER.sub("{}", path).rstrip(".")


def app_paths() -> Iterator[str]:
    """Yield every route under /app/, its parameters written as {}."""
    for route in _routes(get_resolver().url_patterns, "/"):
        if route.startswith("/app/"):
            yield _normalised(route)


def _routes(patterns: Iterable[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for entry in patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _routes(entry.url_patterns, route)
        elif entry.name != "api-root":  # django-ninja's own, which only names the prefix
            yield route


def test_the_reader_finds_each_way_to_read_the_environment() -> None:
    source = 'env("A"), env.int("B"), secret("C"), os.environ.get("D"), environ["E"], say("F")'
    assert names_read(source) == {"A", "B", "C", "D", "E"}


@pytest.mark.parametrize("name", sorted(environment_names()))
def test_a_setting_is_documented(name: str) -> None:
    rows = re.findall(rf"^\| `{name}`", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    assert len(rows) == 1, f"docs/settings.md has {len(rows)} rows for {name}"


def test_what_is_marked_secret_is_what_may_come_from_a_file() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    marked = re.findall(r"^\| `([A-Z0-9_]+)` \*secret\*", text, re.MULTILINE)
    source = (ROOT / "config" / "settings.py").read_text()
    assert set(marked) == set(re.findall(r'\bsecret\(\s*"(\w+)"', source))


def test_the_example_file_has_each_setting_once() -> None:
    lines = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert Counter(lines) == Counter(environment_names())


def test_no_setting_is_documented_that_nobody_reads() -> None:
    rows = re.findall(r"^\| `([A-Z0-9_]+)`", (ROOT / "docs" / "settings.md").read_text(), re.M)
    assert set(rows) - environment_names() == set()


@pytest.mark.parametrize("command", [file.stem for file in COMMANDS])
def test_a_command_is_documented(command: str) -> None:
    texts = [file.read_text() for file in DOCS if file.exists()]
    written = any(re.search(rf"(manage\.py |`){command}\b", text) for text in texts)
    assert written, f"neither README.md nor docs/ has `manage.py {command}`"


def test_every_app_address_is_documented() -> None:
    assert sorted(set(app_paths()) - documented_paths()) == []


@pytest.mark.parametrize("code", CAUSES)
def test_troubleshooting_tells_what_to_do_about_each_cause(code: str) -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    rows = re.findall(rf"^\| (?:`\w+`, )*`{code}`(?:, `\w+`)* \|", text, re.MULTILINE)
    assert len(rows) == 1, f"docs/troubleshooting.md has {len(rows)} rows for {code}"


def test_troubleshooting_tells_of_no_cause_that_there_is_not() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    rows = re.findall(r"^\| ((?:`\w+`, )*`[a-z_]+`) \|", text, re.MULTILINE)
    told = {code.strip("`") for row in rows for code in row.split(", ")}
    assert told - set(CAUSES) == set()


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.WORKER, Kind.SCHEDULER}))
def test_an_alert_is_documented_by_the_words_of_the_channels_form(kind: Kind) -> None:
    assert f"\n| {kind.label} |" in (ROOT / "docs" / "alerts.md").read_text()


def test_each_promise_of_security_names_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    [promised] = [part for part in section if part.startswith("What is promised")]
    promises = re.split(r"^- ", promised, flags=re.MULTILINE)[1:]
    named = [re.findall(r"`(\w+/tests/\w+\.py)::(test_\w+)`", promise) for promise in promises]
    assert len(promises) > 20
    assert [p for p, tests in zip(promises, named, strict=True) if not tests] == []
    assert [
        f"{file}::{name}"
        for file, name in itertools.chain(*named)
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text()
    ] == []


def test_the_changelog_begins_with_this_version() -> None:
    """Until it is released, what changed stands under *Unreleased*."""
    text = (ROOT / "CHANGELOG.md").read_text()
    newest = re.findall(r"^## (.+)$", text, re.MULTILINE)[0].split(",")[0]
    assert newest == ("Unreleased" if __version__.endswith(".dev0") else __version__)


def test_the_readme_leads_to_every_page() -> None:
    told = (ROOT / "README.md").read_text()
    pages = [file.relative_to(ROOT) for file in sorted((ROOT / "docs").glob("*.md"))]
    assert [str(page) for page in pages if f"({page})" not in told] == []


@pytest.mark.parametrize("file", sorted({*DOCS, *ROOT.glob("*.md")}), ids=lambda file: file.name)
def test_links_between_pages_lead_somewhere(file: Path) -> None:
    assert [link for link in _links(file) if not _leads_somewhere(file, link)] == []


def _links(file: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    found = re.findall(r'\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"', text)
    return [link for pair in found for link in pair if link and "://" not in link]


def _leads_somewhere(file: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = file.parent / path if path else file
    return target.exists() and (not anchor or anchor in _anchors(target.read_text()))


def _anchors(text: str) -> set[str]:
    """As GitHub makes them from headings, and those that are set by hand."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))
