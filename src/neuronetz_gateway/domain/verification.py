"""What a verification of the audit log has looked at, what it found."""

from dataclasses import dataclass, field

from neuronetz_gateway.domain.chain_finding import Finding
from neuronetz_gateway.domain.checkpoint import SignedCheckpoint

MOST_FINDINGS = 1_000


@dataclass(slots=True)
class VerificationReport:
    """What was looked at, what is wrong with it: `findings` are the first MOST_FINDINGS of `wrong`.

    unsigned_rows are newer than what checkpoints list of their chains: they hold together, but could have been written
    anew as a whole. unchained_rows are of the time before there were chains.
    """

    rows: int = 0
    chains: int = 0
    checkpoints: int = 0
    unsigned_rows: int = 0
    unchained_rows: int = 0
    dropped_days: int = 0
    last_checkpoint: SignedCheckpoint | None = None
    wrong: int = 0
    findings: list[Finding] = field(default_factory=list)

    def found(self, finding: Finding) -> None:
        self.wrong += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)
