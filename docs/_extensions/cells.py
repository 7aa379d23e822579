"""The cells of a percent-format demo: for the page that shows them, and the run that keeps output."""

import hashlib
import re


def cells(text):
    """Return the cells in order: whether it is code, and its source (Markdown without comment signs)."""
    found = []
    for kind, body in re.findall(r"^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)", text, re.MULTILINE | re.DOTALL):
        source = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if kind else body
        found.append((not kind, source.strip("\n")))
    return found


def fingerprint(text):
    """Return a digest of the code of a demo: prose may change without making its output old."""
    code = "\n".join(source for is_code, source in cells(text) if is_code)
    return hashlib.sha256(code.encode()).hexdigest()[:16]
