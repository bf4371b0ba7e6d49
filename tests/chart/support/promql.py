"""What a PromQL expression asks for. No parser: promtool judges the syntax, and this finds names only."""

import re
from dataclasses import dataclass, field

WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right", "inf", "nan"}
# A selector: a name, perhaps with matchers, perhaps with a range; not a function, which a parenthesis follows.
SELECTOR = re.compile(r'([a-zA-Z_:][\w:]*)(?:\s*(\{(?:[^{}"]|"(?:[^"\\]|\\.)*")*\})|(?![\w:]|\s*\())')
MATCHER = re.compile(r'([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


@dataclass
class Query:
    """Selectors with their matchers, and the labels that results are grouped by."""

    selectors: list = field(default_factory=list)
    grouped_by: set = field(default_factory=set)


def read(expression):
    query = Query()
    for _, labels in GROUPING.findall(expression):
        query.grouped_by |= {label.strip() for label in labels.split(",") if label.strip()}
    rest = GROUPING.sub(" ", expression)
    rest = re.sub(r"\[[^\]]*\]|\boffset\s+-?\w+", " ", rest)
    for name, matchers in SELECTOR.findall(rest):
        if name.lower() not in WORDS:
            query.selectors.append((name, MATCHER.findall(matchers)))
    return query
