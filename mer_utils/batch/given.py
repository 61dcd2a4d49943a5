"""What users give as YAML, parameters and grids: plain values of bounded size."""

import unicodedata
from collections.abc import Mapping

import yaml

MOST_CHARACTERS = 2**18  # characters of a YAML text, which take seconds to read
DEEPEST = 20  # lists and mappings within one another
_KINDS = [f"tag:yaml.org,2002:{x}" for x in ("null", "bool", "int", "float", "str", "seq", "map")]
_DATE = "tag:yaml.org,2002:timestamp"  # such as 2020-01-01, which JSON does not know


class _Plain(yaml.SafeLoader):
    """YAML without aliases, by which a few lines say a billion values, and of plain kinds only."""

    yaml_constructors = {kind: yaml.SafeLoader.yaml_constructors[kind] for kind in _KINDS} | {
        _DATE: yaml.SafeLoader.construct_yaml_str,
        None: yaml.SafeLoader.construct_undefined,
    }

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*) are not read{self.peek_event().start_mark}")
        return super().compose_node(parent, index)


def read_yaml(text: str) -> object:
    """The value of a YAML text; ValueError for one that is none, too large or not plain."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{len(text):,} characters of YAML, expected {MOST_CHARACTERS:,} at most")
    try:
        return _Plain(text).get_single_data()
    except Exception as error:  # also KeyError of !!bool x, RecursionError of a deep one
        raise ValueError(f"not YAML ({error})") from error


def check_plain(name: str, value: object, depth: int = 0) -> None:
    """Refuse a parameter's value that JSON does not know, or that no name, number, seed can be."""
    wrong = None
    if depth > DEEPEST:
        wrong = f"has more than {DEEPEST} lists or mappings within one another"
    elif isinstance(value, Mapping | list | tuple):
        keys = list(value) if isinstance(value, Mapping) else []
        if not all(isinstance(key, str) for key in keys):
            wrong = f"has the keys {keys[:3]}, expected text: put them in quotes"
        for item in (*keys, *(value.values() if keys else value)):
            check_plain(name, item, depth + 1)
    elif isinstance(value, str):
        if any(unicodedata.category(x) in ("Cc", "Cs") and x not in "\n\t" for x in value):
            wrong = f"has control characters ({value[:40]!r}); remove them"
    elif isinstance(value, int | float):
        if not abs(value) < 2**63:  # nor is a NaN
            wrong = f"is {str(value)[:20]}, expected a finite number below 2^63"
    elif value is not None:
        wrong = f"has a {type(value).__name__}, expected text, numbers and lists of them"
    if wrong:
        raise ValueError(f"parameter {name!r} {wrong}")
