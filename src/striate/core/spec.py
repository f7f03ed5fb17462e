"""Spec: the frozen description of a layer, block, network, transform or task, and its JSON form.

A spec is data. It is compared by value, printed, written to a model file and read back without running code: the
JSON form is an object with a ``kind`` tag that names the class, and an unknown kind or key is an error.

pydantic alone writes a field declared as a base class with the base class's fields only, so that a tuple of specs
becomes a list of empty objects. A field declared as an abstract spec (``Layer``, ``Transform``) therefore validates
through the registry of kinds and serialises as the real type. A field declared as a concrete spec holds just that.
"""

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from striate.core.errors import InputError

_registry: dict[str, type["Spec"]] = {}
MAX_DEPTH = 64
"""Deepest nesting of specs that is read: deeper input is an attack or a mistake, and would exhaust the stack."""


class Spec(BaseModel):
    """Base of every description. Subclasses declare fields with defaults; a concrete subclass is registered.

    The kind is the class name in snake case unless the class body sets ``kind``. Two modules may not claim one kind.
    Errors: ``InputError`` from :meth:`from_json` for an unknown kind, an unknown key or a bad value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)
    kind: ClassVar[str] = "spec"

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "kind" not in cls.__dict__:
            cls.kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        if inspect.isabstract(cls) or cls.__name__.startswith("_"):
            return
        other = _registry.get(cls.kind)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"the kind {cls.kind!r} of {cls.__module__}.{cls.__qualname__} is taken by "
                f"{other.__module__}.{other.__qualname__}; give the class another name or set its `kind`"
            )
        _registry[cls.kind] = cls

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if not inspect.isabstract(cls):
            return handler(source)
        return core_schema.no_info_plain_validator_function(
            partial(_validate, base=cls),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda spec: spec.to_json()),
        )

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON values: ``{"kind": ..., field: value, ...}``, every field written out."""
        return {"kind": type(self).kind, **self.model_dump(mode="json")}

    @classmethod
    def from_json(cls, data: object, where: str = "spec") -> Self:
        """Read the JSON form. The result is an instance of ``cls`` or of one of its subclasses."""
        spec = _read(data, where, 0)
        if not isinstance(spec, cls):
            raise InputError(where, f"a {spec.kind!r} came where a {cls.__name__} was expected", "correct the kind")
        return spec

    def replace(self, **changes: Any) -> Self:
        """A validated copy with some fields changed."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**fields, **changes})

    def walk(self, path: str = "") -> Iterator[tuple[str, "Spec"]]:
        """This spec and every spec inside it, with dotted paths (``rows.3.layer``); the spec itself has path ''."""
        yield path, self
        for name in type(self).model_fields:
            yield from _walk_value(getattr(self, name), f"{path}.{name}" if path else name)


def _walk_value(value: object, path: str) -> Iterator[tuple[str, Spec]]:
    if isinstance(value, Spec):
        yield from value.walk(path)
    elif isinstance(value, tuple | list):
        for position, item in enumerate(value):
            yield from _walk_value(item, f"{path}.{position}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk_value(item, f"{path}.{key}")


def _read(data: object, where: str, depth: int) -> Spec:
    if depth > MAX_DEPTH or _depth(data) > 4 * MAX_DEPTH:
        raise InputError(where, f"specs are nested deeper than {MAX_DEPTH}", "flatten the description")
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        raise InputError(where, f"an object with a 'kind' was expected, {_shown(data)} came", "add the kind")
    name = data["kind"]
    if name not in _registry:
        near = difflib.get_close_matches(name, _registry, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "correct it"
        raise InputError(where, f"unknown kind {_shown(name)}", f"{hint} A kind of your own must be imported first")
    try:
        return _registry[name].model_validate({key: value for key, value in data.items() if key != "kind"})
    except ValidationError as error:
        place, cause = _first_fault(error)
        raise InputError(
            f"{where}: {name}{'.' if place else ''}{place}", cause, "correct or remove this field"
        ) from None


class _Inside(ValueError):
    """A fault of a spec inside a field, on its way out through pydantic."""

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(f"{place}: {cause}")
        self.place = place
        self.cause = cause


def _first_fault(error: ValidationError) -> tuple[str, str]:
    """Where the first fault is, as a dotted path through all specs, and what it is."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, _Inside):
        return ".".join([*path, *filter(None, [inner.place])]), inner.cause
    if first["type"] == "extra_forbidden":
        return ".".join(path), "unknown key"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f" (got {_shown(first.get('input'))})"
    return ".".join(path), f"{message}{shown}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _depth(data: object) -> int:
    """Nesting depth of plain JSON, counted without recursion."""
    deepest, stack = 0, [(data, 1)]
    while stack:
        value, level = stack.pop()
        deepest = max(deepest, level)
        if level > 4 * MAX_DEPTH:
            break
        children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        stack.extend((child, level + 1) for child in children)
    return deepest


def _validate(value: object, base: type[Spec] = Spec) -> Spec:
    try:
        spec = value if isinstance(value, Spec) else _read(value, "", 0)
    except InputError as error:
        raise _Inside(error.where.removeprefix(": "), error.cause) from None
    if not isinstance(spec, base):
        raise ValueError(f"a {spec.kind!r} came where a {base.__name__} was expected")
    return spec


Kind = TypeVar("Kind", bound=Spec)


def kinds(base: type[Kind]) -> dict[str, type[Kind]]:
    """The registered concrete classes under ``base``, by kind, in order of name."""
    return {name: cls for name, cls in sorted(_registry.items()) if issubclass(cls, base)}


def discover(package: ModuleType) -> list[ModuleType]:
    """Import every module of a package (not of its subpackages), in order of name; what they define is registered."""
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__) if not info.ispkg)
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]
