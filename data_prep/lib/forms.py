"""Which form a text is in: plain, or already tokenized or cut into subwords by someone else."""

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .texts import read_lines

FORMS = ("raw", "tokenized", "segmented")  # each is made from the one before
LOOKED_AT = 10_000  # lines of a file
OFTEN = 0.05  # share of lines; a text about diffs or web pages has such marks now and then

_CUT = re.compile(r"[^\s@]@@(?: |$)")  # not a diff's "@@ -1,3 +1,4 @@"
_ESCAPE = re.compile(r"&(?:apos|quot|amp|lt|gt|#124|#91|#93);")
_FINAL_APART = re.compile(r" [.。]$")


@dataclass(frozen=True)
class Finding:
    """The form that the marks in a text speak for."""

    form: str  # of FORMS, or `pieces` (sentencepiece)
    what: str  # the marks, and how many lines show them

    @property
    def remedy(self) -> str:
        """What the one who gave the text can do."""
        if self.form == "pieces":
            return "undo it first (spm_decode, or: sed 's/ //g; s/▁/ /g; s/^ //')"
        return f"--from {self.form} undoes it; --from raw takes it as it is"


def form_of(path: Path) -> Finding | None:
    """What the first lines of a text look like; None for plain text."""
    lines = cut = pieces = escaped = final = 0
    for line in islice(read_lines(path), LOOKED_AT):
        lines += 1
        cut += "@@" in line and bool(_CUT.search(line))
        pieces += "▁" in line
        escaped += " @-@ " in line or ("&" in line and bool(_ESCAPE.search(line)))
        final += bool(_FINAL_APART.search(line))

    def often(count: int, share: float = OFTEN) -> bool:
        return count > 1 and count >= share * lines

    def say(count: int, marks: str) -> str:
        return f"{count:,} of its first {lines:,} lines {marks}"

    if often(cut):
        return Finding("segmented", say(cut, 'hold words cut by BPE ("@@ ")'))
    if often(pieces):
        return Finding("pieces", say(pieces, 'hold sentencepiece\'s "▁"'))
    if often(final, 0.2) and often(escaped, 0.01):
        return Finding(
            "tokenized",
            say(final, 'end in " ."') + f", {escaped:,} hold Moses' &apos;, &quot; or @-@",
        )
    if often(final, 0.5):
        return Finding("tokenized", say(final, 'end in " ."'))
    return None


def unlike(path: Path, expected: str) -> Finding | None:
    """What speaks against a text's being of the expected form; None where nothing does."""
    finding = form_of(path)
    if finding and finding.form in FORMS[: FORMS.index(expected) + 1]:
        return None
    return finding
