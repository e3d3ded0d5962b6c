"""What a request consumed."""

from typing import NamedTuple


class MeterReading(NamedTuple):
    """What a meter saw pass: the usage that the upstream reported and what was counted on the way.

    counted_output counts content records, each at least one token; framing records do not count (OLLAMA §3.3).
    terminated says that the protocol's own terminator was seen, without which no usage is believed whole.
    uncounted_bytes is what arrived without telling its tokens apart: a call of a tool, which is one record however long
    it is (OLLAMA §7), or a body that broke off.
    """

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    counted_output: int = 0
    terminated: bool = False
    failed: bool = False
    uncounted_bytes: int = 0


class Charge(NamedTuple):
    """What a request is charged, in tokens; estimated where the upstream's own figures were missing."""

    prompt_tokens: int
    output_tokens: int
    estimated: bool

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens


NOTHING = Charge(0, 0, estimated=False)


def charge_of(
    reading: MeterReading,
    prompt_bound_tokens: int,
    *,
    has_output: bool = True,
    uncounted_output_tokens: int = 0,
    granted_output_tokens: int = 0,
) -> Charge:
    """The charge of a request that went up (DESIGN §5): the greater of reported and counted.

    Usage missing or zero, or no terminator: the prompt bound and what was counted, flagged as estimated.
    An embedding has no output (has_output False): its prompt tokens alone must have been reported.
    uncounted_output_tokens is the bound of an answer whose records cannot be counted since it is one body: what was
    delivered whole without a figure is charged at that bound, since an answer must never be free (B7). What arrived
    uncounted before an answer broke off counts a token a byte, which no token is less than, up to what was granted.
    """
    reported = reading.prompt_tokens is not None and reading.prompt_tokens > 0
    if has_output:
        reported = reported and reading.output_tokens is not None and reading.output_tokens > 0
    if reported and reading.terminated and reading.prompt_tokens is not None:
        return Charge(reading.prompt_tokens, max(reading.output_tokens or 0, reading.counted_output), estimated=False)
    prompt = max(reading.prompt_tokens or 0, prompt_bound_tokens)
    counted = max(reading.output_tokens or 0, reading.counted_output)
    if reading.terminated and has_output and counted == 0:
        counted = uncounted_output_tokens
    elif has_output:
        counted = max(counted, min(counted + reading.uncounted_bytes, granted_output_tokens))
    return Charge(prompt, counted, estimated=True)
