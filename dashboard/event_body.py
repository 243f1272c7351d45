"""An event's body as a tree to read, with what is personal folded away. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

# Deeper, longer or more than this is nobody's reading; the raw text has it all.
DEEPEST = 8
LONGEST = 300
MOST_NODES = 400

# Texts that tell one event from another and nothing of a person. Any other text may be of one:
# bodies have fields that nobody documents.
_PLAIN = re.compile(
    r"(?i).*id|.*type|.*status|timestamp|direction|source|currency"
    r"|date(added|updated|created)?|(created|updated|deleted)(at|on)?|(start|end)time"
)


@dataclass(frozen=True)
class Node:
    """A field: a value, or other nodes. `text`: the value as JSON spells it; `is_personal`: to be
    shown only when asked for; `count`: how many fields or items a branch has, shown or not."""

    name: str
    text: str = ""
    is_personal: bool = False
    children: list[Node] = field(default_factory=list)
    count: int = 0

    @property
    def is_branch(self) -> bool:
        return self.count > 0


@dataclass
class _Budget:
    left: int = MOST_NODES


def read_body(payload: dict[str, Any]) -> list[Node]:
    """Return the fields of the body, in their order; empty for an empty one."""
    return _children(payload, depth=1, budget=_Budget())


def pretty(payload: dict[str, Any], *, most: int = 20_000) -> str:
    """Return the body indented, cut where it is longer than `most` characters."""
    text = _sendable(json.dumps(payload, indent=2, ensure_ascii=False))
    return text if len(text) <= most else f"{text[:most]}…"


def _children(value: Any, *, depth: int, budget: _Budget) -> list[Node]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value, start=1)
    nodes = []
    for name, inner in pairs:
        if budget.left <= 0:
            nodes.append(Node("…", "more than is shown here; the raw text below has all"))
            break
        budget.left -= 1
        nodes.append(_node(_sendable(str(name))[:100], inner, depth, budget))
    return nodes


def _node(name: str, value: Any, depth: int, budget: _Budget) -> Node:
    if isinstance(value, dict | list) and value and depth < DEEPEST:
        inner = _children(value, depth=depth + 1, budget=budget)
        return Node(name, children=inner, count=len(value))
    if not isinstance(value, str | dict | list) or not value:
        return Node(name, _as_json(value))
    text = _sendable(value if isinstance(value, str) else _as_json(value))
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}…"
    return Node(name, text, is_personal=not _PLAIN.fullmatch(name))


def _sendable(text: str) -> str:
    """JSON can spell half of a character, and a NUL, which no page can."""
    return text.encode(errors="replace").decode().replace("\x00", "␀")


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
