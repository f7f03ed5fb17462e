"""The best trial of a sweep as a settings file that trains it again, alone, to the same figures."""

import json
from pathlib import Path
from typing import Any

from striate.core.disk import write_file
from striate.core.spec import Spec
from striate.recipes.experiment import Experiment
from striate.recipes.plan import RunPlan

_NOTE = """\
# The best trial of a sweep: striate train --settings {name} --out RUN
# precision, step and threads are as they came out in the sweep: with them, on the same machine, the figures are equal.
# Leave them out and they are chosen anew.
"""


def write_best(path: Path, experiment: Experiment, plan: RunPlan) -> None:
    """Write the settings of a training, with what its ``plan`` left to timing. What is not set stays open. Errors:
    ``InputError`` for a file that cannot be written."""
    tables = {name: _set_fields(getattr(experiment, name)) for name in type(experiment).model_fields}
    tables["data"]["path"] = plan.data.path
    tables["training"] |= {"precision": plan.precision, "step": plan.step}
    lines = [_NOTE.format(name=path.name)]
    for name, table in tables.items():
        if table:
            lines += [f"[{name}]", *(f"{_key(key)} = {_toml(value)}" for key, value in table.items()), ""]
    data = "\n".join(lines).encode()
    write_file(path, [data], len(data))


def _set_fields(spec: Spec) -> dict[str, Any]:
    """The fields that were set, as plain JSON values, without those that are None: TOML has none."""
    plain = spec.to_json()
    return {
        name: plain[name]
        for name in type(spec).model_fields
        if name in spec.model_fields_set and plain[name] is not None
    }


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        held = ", ".join(f"{_key(key)} = {_toml(one)}" for key, one in value.items() if one is not None)
        return f"{{ {held} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if plain else json.dumps(name, ensure_ascii=False)
