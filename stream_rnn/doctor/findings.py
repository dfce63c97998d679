"""What a check says: one finding, with a verdict and what to do."""

from typing import Literal, TypeAlias

import msgspec

Verdict: TypeAlias = Literal["ok", "warn", "fail", "skip"]
"""`fail`: the daemon will not run as configured. `warn`: it will, worse than it could. `skip`: not seen."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        subject: What, in a word or two.
        verdict: How it is.
        found: What was seen or measured, in one line, with units. Never a secret.
        do: What to do about it; empty when all is well.
    """

    subject: str
    verdict: Verdict
    found: str
    do: str = ""
