"""What the queries in `monitoring/` ask for."""

import re
from pathlib import Path

from app import bootstrap as bootstrap
from app.infra.monitoring import Histogram
from app.infra.monitoring.instruments import declared

MONITORING = Path(__file__).parent.parent / "monitoring"
RULES = sorted((MONITORING / "alerts").glob("*.yml"))

# Strings, then what is between braces, brackets and the parentheses of a grouping.
_NO_METRICS = re.compile(
    r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|on|without|ignoring|group_left)\s*\([^)]*\)'
)
_EXPRESSION = re.compile(r"^( *)(?:- )?expr: (?:\|\n((?:\1 .*\n)+)|(.+)\n)", re.MULTILINE)
_KEYWORDS = {"and", "or", "unless", "offset", "bool"}


def metrics(expression: str) -> set[str]:
    """The names of the series that a query reads."""
    bare = expression
    while (shorter := _NO_METRICS.sub(" ", bare)) != bare:
        bare = shorter
    names = re.findall(r"(?<![\w:.$])[a-zA-Z_:][\w:]*(?![\w:])(?!\s*\()", bare)
    return set(names) - _KEYWORDS


def expressions(rules: Path) -> list[str]:
    """The queries of a file of rules."""
    found = _EXPRESSION.findall(rules.read_text(encoding="utf-8"))
    return [block or line for _, block, line in found]


def known() -> set[str]:
    """The names of the series that the service tells, that rules record, and Prometheus adds."""
    names = {"up"}
    for instrument in declared:
        name = instrument.name
        parts = ("_bucket", "_count", "_sum") if isinstance(instrument, Histogram) else ("",)
        names |= {name + part for part in parts}
    for rules in RULES:
        names |= set(re.findall(r"- record: (\S+)", rules.read_text(encoding="utf-8")))
    return names
