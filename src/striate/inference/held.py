"""The splits that a run made of its data, found again for evaluation: ``split.json`` in the folder of the model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.data.reader import Reader
from striate.inference.predictor import Predictor

SPLIT_NAME = "split.json"


def held_out(predictor: Predictor, reader: Reader) -> dict[str, NDArray[np.int64]]:
    """The positions in the reader of the splits that the model's run made of this very data, by name.

    Empty where the run made no split of its own, where the data is not what the model was trained on, or where the
    model does not lie in the folder of a run. Errors: ``InputError`` for a ``split.json`` that cannot be understood.
    """
    path = Path(predictor.source).parent / SPLIT_NAME
    if reader.fingerprint() != predictor.trained_on or not path.is_file():
        return {}
    try:
        record: Any = json.loads(path.read_text("ascii"))  # as a run writes it: names may hold half surrogates
        made, splits = bool(record["validation_made_here"]), {str(k): list(v) for k, v in record["splits"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(path, f"it cannot be read: {error!r}", "restore it, or move the model elsewhere") from None
    if not made:
        return {}
    position = {reader.name(number): number for number in range(len(reader))}
    found = {}
    for split, names in splits.items():
        strange = [name for name in names if name not in position]
        if strange or len(position) != len(reader):
            what = f"it names {strange[0]!r}, which the data does not hold" if strange else "samples share a name"
            raise InputError(path, what, "name a split of the data itself")
        found[split] = np.array(sorted(position[name] for name in names), dtype=np.int64)
    return found
