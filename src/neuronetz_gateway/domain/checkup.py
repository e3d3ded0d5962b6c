"""What a check of the surroundings found: whether something is as it should be, else the mend."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """A warning does not keep the gateway from serving, a failure does or breaks a promise."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of a checkup; the mend is empty where nothing has to be mended."""

    check: str
    verdict: Verdict
    words: str
    mend: str = ""


def fine(check: str, words: str) -> CheckResult:
    return CheckResult(check, Verdict.OK, words)


def doubtful(check: str, words: str, mend: str) -> CheckResult:
    return CheckResult(check, Verdict.WARNING, words, mend)


def broken(check: str, words: str, mend: str) -> CheckResult:
    return CheckResult(check, Verdict.FAILURE, words, mend)
