"""Ages of patients in the spellings of several datasets."""

import re

_PER_YEAR = {"": 1, "y": 1, "m": 12, "w": 52, "d": 365}


def years(text: str) -> str:
    """Returns an age in whole years as text, "" if it cannot be read.

    Args:
        text: A whole number and a unit that begins with y, m, w or d; years if there is none:
            ``058Y``, ``45yrs``, ``6 months``, ``58``.
    """
    match = re.fullmatch(r"(\d{1,4})\s*([a-z]?)[a-z]*\.?", text.strip().lower())
    if not match or match[2] not in _PER_YEAR:
        return ""
    return str(int(match[1]) // _PER_YEAR[match[2]])
