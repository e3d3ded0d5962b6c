"""Turns what a person types into values, or says in one sentence how to type it."""

import re
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from neuronetz_gateway.domain.api_key import PREFIX_LENGTH
from neuronetz_gateway.domain.audit import printable
from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.domain.network import canonical_networks
from neuronetz_gateway.errors import InvalidRequestError

_DIGITS = re.compile(r"[0-9]{1,15}(_[0-9]{1,15})*", re.ASCII)
_SPAN = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_SPAN_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=36_500)
_PREFIX = re.compile(r"nz_[0-9A-Za-z]{9}", re.ASCII)
_LABEL_CHARACTERS = 200
_MOST_TOKENS = 2**53 - 1  # what every JSON reader holds exactly
_MOST_REQUESTS = 1_000_000_000  # the column holds 32 bits
_REQUEST_OPTIONS = frozenset({"--rpm", "--concurrent"})
_NETWORKS_AT_MOST = 200  # each is compared with the caller's address, at every request
_SHOWN_CHARACTERS = 80


def bound(option: str, text: str, *, least: int = 1) -> int | None:
    """A limit or budget: a whole number, underscores allowed, or the word `none`, which takes it away."""
    if text.strip().lower() == "none":
        return None
    digits = text.strip()
    most = _MOST_REQUESTS if option in _REQUEST_OPTIONS else _MOST_TOKENS
    if not _DIGITS.fullmatch(digits) or not least <= int(digits) <= most:
        raise InvalidRequestError(
            f"{option} takes a whole number from {least} to {most} or the word none, for example {option} 1000."
        )
    return int(digits)


def bounds(given: dict[str, str | None], *, least: int = 1) -> dict[str, int | None]:
    """The options that were given, by name; those that were left out are left out here too."""
    return {name: bound(f"--{name}", text, least=least) for name, text in given.items() if text is not None}


def span(option: str, text: str) -> timedelta:
    """A length of time: 90s, 30m, 12h, 30d or 2w."""
    found = _SPAN.fullmatch(text.strip().lower())
    length = timedelta(**{_SPAN_UNITS[found[2]]: int(found[1])}) if found else None
    if length is None or length > _LONGEST:
        raise InvalidRequestError(
            f"{option} takes a length of time such as 90s, 30m, 12h, 30d or 2w, {_LONGEST.days}d at most."
        )
    return length


def moment(option: str, text: str, now: datetime) -> datetime:
    """A time to come, in UTC: an ISO date or time (without a zone it is UTC), or a length of time from now."""
    if _SPAN.fullmatch(text.strip().lower()):
        return _ahead(option, now + span(option, text), now)
    return _ahead(option, _read(option, text), now)


def moment_gone(option: str, text: str, now: datetime) -> datetime:
    """A time that need not lie ahead, in UTC: an ISO date or time, or a length of time before now."""
    if _SPAN.fullmatch(text.strip().lower()):
        return now - span(option, text)
    return _read(option, text)


def _read(option: str, text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text.strip())
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequestError(
            f"{option} takes a date (2027-01-31), a time (2027-01-31T18:00:00+01:00) or a length of time (30d)."
        ) from None


def calendar_day(option: str, text: str) -> date:
    """A day of somebody's calendar, whose zone is known later."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InvalidRequestError(f"{option} takes a day such as 2027-01-31.") from None


def _ahead(option: str, read: datetime, now: datetime) -> datetime:
    if read <= now:
        raise InvalidRequestError(f"{option} lies in the past: {read:%Y-%m-%d %H:%M} UTC.")
    return read


def prefix(option: str, text: str) -> str:
    """The 12-character prefix of a key; anything else is refused and never repeated, as it may be a whole key."""
    if _PREFIX.fullmatch(text):
        return text
    if len(text) > PREFIX_LENGTH and text.startswith("nz_"):
        raise InvalidRequestError(
            f"{option} takes the first {PREFIX_LENGTH} characters of a key alone; what was given is longer. It "
            "may hold a secret, so it is not repeated here. Give the prefix that list-keys shows."
        )
    raise InvalidRequestError(
        f"{option} takes the prefix of a key: nz_ and 9 characters, as list-keys shows it ({PREFIX_LENGTH} in all)."
    )


def label(option: str, text: str) -> str:
    """A name for people: something to see, on one line, not endless."""
    if not text.strip() or not text.isprintable() or len(text) > _LABEL_CHARACTERS:
        raise InvalidRequestError(f"{option} takes 1 to {_LABEL_CHARACTERS} printable characters.")
    return text.strip()


def remark(option: str, text: str) -> str:
    """A remark to keep, which may be empty."""
    return label(option, text) if text.strip() else ""


def models(text: str) -> frozenset[str]:
    """The canonical names in a comma-separated list; an empty list allows nothing."""
    return frozenset(_model(part.strip()) for part in text.split(",") if part.strip())


def _model(name: str) -> str:
    try:
        return canonical(name)
    except ModelNameError as error:
        raise InvalidRequestError(
            f"--models: {printable(name, _SHOWN_CHARACTERS)!r} cannot be allowed: {error}."
        ) from None


def networks(option: str, text: str) -> tuple[str, ...]:
    """The canonical networks in a comma-separated list; an empty list is nowhere."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > _NETWORKS_AT_MOST:
        raise InvalidRequestError(f"{option} takes {_NETWORKS_AT_MOST} networks at most; name wider ones.")
    return canonical_networks(_network(option, part) for part in parts)


def _network(option: str, text: str) -> str:
    try:
        return canonical_networks([text])[0]
    except ValueError:
        raise InvalidRequestError(
            f"{option}: {printable(text, _SHOWN_CHARACTERS)!r} is no network. Give an address such as 203.0.113.7 or "
            "2001:db8::7, or a network such as 10.0.0.0/8 or 2001:db8::/32, whose bits beside the mask are 0."
        ) from None


def difference(option: str, text: str) -> int:
    """A number of tokens more or, below 0, fewer; underscores allowed."""
    digits = text.strip()
    sign, digits = (-1, digits[1:]) if digits.startswith("-") else (1, digits.removeprefix("+"))
    if not _DIGITS.fullmatch(digits) or not 1 <= int(digits) <= _MOST_TOKENS:
        raise InvalidRequestError(
            f"{option} takes a whole number other than 0, for example {option} 1000 or {option} -1000."
        )
    return sign * int(digits)


def row_id(option: str, text: str) -> UUID:
    """The id of a row of the audit log."""
    try:
        return UUID(text.strip())
    except ValueError:
        raise InvalidRequestError(f"{option} takes the id of a request as audit list shows it.") from None
