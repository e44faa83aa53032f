"""Lines of JSON that tell whether they are as they were written."""

import json
from collections.abc import Mapping
from typing import Any
from zlib import crc32

_MARK = ', "crc": '


def sealed(record: Mapping[str, Any]) -> str:
    """A record as a line of JSON, without its end, whose last value is a checksum of what comes before it.

    Parameters
    ----------
    record : mapping
        Plain JSON values, at least one.

    Raises
    ------
    TypeError
        If JSON has no word for a value.
    """
    text = json.dumps(record)
    return f"{text[:-1]}{_MARK}{crc32(text.encode())}}}"


def is_whole(line: str) -> bool:
    """Whether a line is one that `sealed` gave, letter by letter."""
    text, _, number = line.rpartition(_MARK)
    return bool(text) and number == f"{crc32(f'{text}}}'.encode())}}}"
