"""Faults for the next calls: what breaks, where, for whom, how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass, fields

from sandbox.knobs import BadKnob

# The answer is replaced (a status), or the connection ends in one of these ways.
KINDS = frozenset(
    {
        "401", "429", "500", "502", "503", "504",
        "html_body", "slow", "reset", "drop_after_commit", "connect_timeout",
    }
)  # fmt: skip
_AFTER_COMMIT = {"slow", "drop_after_commit"}


@dataclass(frozen=True)
class Fault:
    """One planned fault.

    Shapes: `times` None = until cleared; `route` a path, or a prefix when it ends in "/";
    `resource_id` an agency or sub-account. Units: `seconds` of a slow answer, `retry_after` in
    seconds. `after_commit` says whether the call takes effect before the fault strikes.
    """

    fault: str
    times: int | None = 1
    route: str = ""
    resource_id: str = ""
    seconds: float = 30.0
    retry_after: int | None = None
    status: int = 502
    after_commit: bool = False

    def strikes(self, path: str, resources: Callable[[], Set[str]]) -> bool:
        if self.route and not _is_under(path, self.route):
            return False
        return not self.resource_id or self.resource_id in resources()


def read_fault(values: Mapping[str, object]) -> Fault:
    """A fault from JSON or form values. Errors: BadKnob says which value is wrong."""
    known = {spec.name for spec in fields(Fault)}
    for name in values:
        if name not in known:
            raise BadKnob(name, "no such field of a fault")
    kind = str(values.get("fault", ""))
    if kind not in KINDS:
        raise BadKnob("fault", f"{kind!r} is not one of {', '.join(sorted(KINDS))}")
    after = values.get("after_commit", kind in _AFTER_COMMIT)
    return Fault(
        fault=kind,
        times=_whole("times", values.get("times", 1), least=1),
        route=str(values.get("route") or ""),
        resource_id=str(values.get("resource_id") or ""),
        seconds=_number("seconds", values.get("seconds", 30.0)) or 0.0,
        retry_after=_whole("retry_after", values.get("retry_after")),
        status=_whole("status", values.get("status", 502), least=100) or 502,
        after_commit=str(after).lower() in {"true", "1", "on"},
    )


class FaultPlan:
    """The planned faults, oldest first; the first that fits a call strikes."""

    def __init__(self, saved: list[dict[str, object]]) -> None:
        self._faults = [read_fault(entry) for entry in saved]

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self, resource_id: str = "") -> None:
        """Forget all faults, or those of one agency or sub-account."""
        if resource_id:
            self._faults = [f for f in self._faults if f.resource_id != resource_id]
        else:
            self._faults = []

    def take(self, path: str, resources: Callable[[], Set[str]]) -> Fault | None:
        """The fault that strikes this call, counted down; None for a call that goes well."""
        for index, fault in enumerate(self._faults):
            if fault.strikes(path, resources):
                self._count_down(index, fault)
                return fault
        return None

    def as_list(self) -> list[dict[str, object]]:
        return [asdict(fault) for fault in self._faults]

    def _count_down(self, index: int, fault: Fault) -> None:
        if fault.times is None:
            return
        if fault.times <= 1:
            del self._faults[index]
            return
        self._faults[index] = read_fault(asdict(fault) | {"times": fault.times - 1})


def _is_under(path: str, route: str) -> bool:
    return path == route or (route.endswith("/") and path.startswith(route))


def _number(name: str, value: object, least: float = 0) -> float | None:
    if value in (None, "", "none"):
        return None
    try:
        number = float(str(value))
    except ValueError:
        raise BadKnob(name, f"{value!r} is not a number") from None
    if not least <= number < float("inf"):
        raise BadKnob(name, f"{value!r} is not a number from {least:g} up")
    return number


def _whole(name: str, value: object, least: int = 0) -> int | None:
    number = _number(name, value, least)
    return None if number is None else int(number)
