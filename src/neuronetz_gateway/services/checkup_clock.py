"""Judges how far a store's clock is from this machine's."""

from datetime import datetime

from neuronetz_gateway.domain.checkup import CheckResult, broken, doubtful, fine

_NOTICED_SECONDS = 1.0
_MOST_SECONDS = 30.0


def clock_result(check: str, theirs: datetime, ours: datetime) -> CheckResult:
    """Budgets and limits go by the stores' clocks; keys, logs and who reads them by ours."""
    seconds = (theirs - ours).total_seconds()
    words = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine"
    mend = "have both follow the same time server (NTP)"
    if abs(seconds) > _MOST_SECONDS:
        return broken(check, words, mend)
    return doubtful(check, words, mend) if abs(seconds) > _NOTICED_SECONDS else fine(check, words)
