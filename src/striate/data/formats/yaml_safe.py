"""YAML that strangers may have written: plain values only, within caps, and errors that name the line.

Read with PyYAML's safe loader (no tag can make an object), with three things added that it does not do: caps on bytes,
depth and nodes, where an alias counts as all that it stands for (so that a "billion laughs" file ends at once); a key
given twice is an error instead of the last one winning; and words stay words. Only ``true``, ``false``, whole numbers,
``~`` and nothing are anything but text, so that classes called ``no``, ``off``, ``1.10`` or ``007`` keep their names.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.error import Mark
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode

from striate.core.disk import open_file, read_into
from striate.core.errors import InputError

MAXIMUM_BYTES = 1 << 20
"""The largest file that is read."""
MAXIMUM_DEPTH = 32
"""How deep lists and tables may lie in each other."""
MAXIMUM_NODES = 100_000
"""How many values a file may have, each alias counted as all that it stands for."""

_FIX = "correct the file"


class _TooMuch(ComposerError):
    """A cap was passed."""


class _Loader(yaml.SafeLoader):
    """The safe loader with caps; what an alias stands for is counted each time it is used."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[int] = []  # the nodes that are being composed: how many values each has so far
        self._counted: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose as the safe loader does, counting values and depth."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._counted:
                raise _TooMuch(None, None, f"*{event.anchor} stands for a part that it lies in itself", mark)
            self._count(self._counted[id(node)], mark)
            return node
        if len(self._open) >= MAXIMUM_DEPTH:
            raise _TooMuch(None, None, f"more than {MAXIMUM_DEPTH} lists and tables lie in each other", mark)
        self._open.append(0)
        node = super().compose_node(parent, index)
        values = self._open.pop() + 1
        self._counted[id(node)] = values
        self._count(values, mark)
        if isinstance(node, MappingNode):
            _demand_single_keys(node)
        return node

    def _count(self, values: int, mark: Mark | None) -> None:
        if self._open:
            self._open[-1] += values
            values = sum(self._open)
        if values > MAXIMUM_NODES:
            raise _TooMuch(None, None, f"it stands for more than {MAXIMUM_NODES:,} values", mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), [*"tTfF"]
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^(?:[-+]?(?:0|[1-9][0-9]{0,17}))$"), [*"-+0123456789"]
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|)$"), ["~", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^(?:<<)$"), ["<"])


def read_yaml(path: Path) -> Any:
    """The content of a YAML file: dict, list, str, int, bool or None, in each other. Errors: ``InputError``."""
    with open_file(path) as (file, size):
        if size > MAXIMUM_BYTES:
            raise InputError(path, f"{size:,} bytes are more than the {MAXIMUM_BYTES:,} a YAML file may have", _FIX)
        data = bytearray(size)
        read_into(file, memoryview(data), path)
    return parse_yaml(bytes(data), path)


def parse_yaml(data: bytes, where: object) -> Any:
    """The content of YAML text, UTF-8. ``where`` is what it is called. Errors: ``InputError`` naming the line."""
    if len(data) > MAXIMUM_BYTES:
        raise InputError(where, f"{len(data):,} bytes are more than the {MAXIMUM_BYTES:,} YAML may have", _FIX)
    try:
        loader = _Loader(data.decode("utf-8-sig"))
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{where}:{line}", "it is not UTF-8 text", "save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f":{mark.line + 1}"
        raise InputError(
            f"{where}{place}", f"it is not YAML that is read: {error.problem or error.context}", _FIX
        ) from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(where, f"it is not YAML that is read: {reason}", _FIX) from None


def _demand_single_keys(node: MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key, ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if (key.tag, key.value) in seen:
                raise ComposerError(None, None, f"the key {key.value!r} is given twice", key.start_mark)
            seen.add((key.tag, key.value))
