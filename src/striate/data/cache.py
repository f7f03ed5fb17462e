"""Where prepared data is kept when nobody names a folder: found again by what the data and its preparation are."""

import re
from collections.abc import Callable
from pathlib import Path

from striate.core.disk import cache_folder
from striate.core.transform import Compose
from striate.data.fingerprint import combined
from striate.data.prepare import prepare
from striate.data.reader import Reader
from striate.data.shards import Shards


def prepared(
    reader: Reader,
    geometry: Compose,
    *,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[int, int, str], None] = lambda done, total, seen: None,
) -> Shards:
    """The shards of a data set brought to its working size by ``geometry``, made now or found in the cache.

    The folder's name is a digest of the data's fingerprint and of the preparation, so that changed data or another
    size is another folder and nothing stale is ever read. Errors: ``InputError``.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(reader.path).absolute().name) or "data"
    digest = combined(reader.fingerprint(), geometry.to_json())[:16]
    folder = (cache or cache_folder()) / f"{name}-{digest}"
    return prepare(
        reader, folder, geometry, say=say, show=lambda done, total, seen: show(done, total, f"preparing, {seen}")
    )
