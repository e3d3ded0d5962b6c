"""The command about what a key may ask of the model server other than the settings say."""

import re
from collections.abc import Callable
from typing import Annotated

import typer

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.cli.options import AsJson, EnvFile, OneKey
from neuronetz_gateway.cli.records import policy_record
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.domain.request_policy import LOGPROBS_AT_MOST, KeyPolicy
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.services.management import Management

type Change = int | bool | None

_INHERIT = "inherit"
_NONE = "none"
_DIGITS = re.compile(r"[0-9]{1,10}(_[0-9]{1,10})*", re.ASCII)
_COLUMN_MOST = 2**31 - 1  # the columns hold 32 bits
_ITEMS_MOST = 1_000_000
_LONGEST_SECONDS = 365 * 86_400
_ANSWERS = {"yes": True, "no": False, _INHERIT: None}


def _option(name: str, metavar: str, meaning: str) -> object:
    return typer.Option(name, metavar=metavar, show_default=False, help=meaning)


def set_policy(
    *,
    key: OneKey,
    keep_alive: Annotated[
        str | None,
        _option(
            "--keep-alive",
            "TIME|none|inherit",
            "The longest keep_alive: 10m, 1h. none: it is left out, of a load too; unloading stays allowed.",
        ),
    ] = None,
    num_ctx: Annotated[
        str | None,
        _option("--num-ctx", "N|none|inherit", "The largest options.num_ctx. none: it is left out."),
    ] = None,
    images: Annotated[
        str | None, _option("--images", "N|inherit", "The most images in one request; 0 is none.")
    ] = None,
    embedding_inputs: Annotated[
        str | None, _option("--embedding-inputs", "N|inherit", "The most texts in one embedding request.")
    ] = None,
    logprobs: Annotated[
        str | None,
        _option("--logprobs", "N|inherit", f"The most logprobs a token, up to {LOGPROBS_AT_MOST}; 0 is none."),
    ] = None,
    raw: Annotated[
        str | None, _option("--raw", "yes|no|inherit", "Whether a prompt may pass by the template and system prompt.")
    ] = None,
    context: Annotated[
        str | None, _option("--context", "yes|no|inherit", "Whether the context of an earlier answer may be sent.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="First make all as the settings say.")] = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Say what a key may ask for beyond or below what the settings say, from the next request on.

    `inherit` takes the settings' own again. What is not named stays as it is.
    """
    prefix = parsing.prefix("--key", key)
    given = {
        "max_keep_alive_seconds": keep_alive,
        "max_num_ctx": num_ctx,
        "max_images": images,
        "max_embedding_inputs": embedding_inputs,
        "max_logprobs": logprobs,
        "allow_raw": raw,
        "allow_context": context,
    }
    asked = {name: _READ[name](text) for name, text in given.items() if text is not None}
    if not asked and not reset:
        raise InvalidRequestError("Say what it may ask for: --keep-alive, --num-ctx, --images and so on, or --reset.")

    async def work(managed: Management) -> ApiKey:
        return await managed.api_keys.set_policy(prefix, asked, afresh=reset)

    changed = run(management, work, env_file)
    if as_json:
        output.document({"key": changed.prefix, "policy": policy_record(changed)})
    else:
        output.line(f"Policy of key {changed.prefix}: {policy_words(changed.policy)}.")


def policy_words(policy: KeyPolicy | None) -> str:
    """What a key has of its own, in words."""
    if policy is None:
        return "as the settings say"
    amounts = (
        ("keep_alive", policy.max_keep_alive_seconds, " s"),
        ("num_ctx", policy.max_num_ctx, ""),
        ("images", policy.max_images, ""),
        ("texts to embed", policy.max_embedding_inputs, ""),
        ("logprobs", policy.max_logprobs, ""),
    )
    permissions = (("raw", policy.allow_raw), ("context", policy.allow_context))
    parts = [
        f"{name} up to {output.count(most)}{unit}" if most else f"no {name}"
        for name, most, unit in amounts
        if most is not None
    ]
    parts += [name if allowed else f"no {name}" for name, allowed in permissions if allowed is not None]
    return f"{', '.join(parts)}; all else as the settings say"


def _number(option: str, least: int, most: int, *, none: bool = False) -> Callable[[str], Change]:
    """Reads a whole number or `inherit`; where `none` is a word of it too, that is 0."""
    words = f"the words {_NONE} or {_INHERIT}" if none else f"the word {_INHERIT}"

    def read(text: str) -> Change:
        word = text.strip().lower()
        if word == _INHERIT:
            return None
        if none and word == _NONE:
            return 0
        if not _DIGITS.fullmatch(word) or not least <= int(word) <= most:
            raise InvalidRequestError(f"{option} takes a whole number from {least} to {most} or {words}.")
        return int(word)

    return read


def _seconds(text: str) -> Change:
    word = text.strip().lower()
    if word == _INHERIT:
        return None
    if word == _NONE:
        return 0
    seconds = _span_seconds(text)
    if seconds is None or seconds > _LONGEST_SECONDS:
        raise InvalidRequestError(
            f"--keep-alive takes a length of time up to {_LONGEST_SECONDS // 86_400}d such as 90s, 30m or 12h, or the "
            f"words {_NONE} or {_INHERIT}."
        )
    return seconds


def _span_seconds(text: str) -> int | None:
    try:
        return int(parsing.span("--keep-alive", text).total_seconds())
    except InvalidRequestError:  # whose bound is another one, nor does it know the words
        return None


def _answer(option: str) -> Callable[[str], Change]:
    def read(text: str) -> Change:
        word = text.strip().lower()
        if word not in _ANSWERS:
            raise InvalidRequestError(f"{option} takes yes, no or {_INHERIT}.")
        return _ANSWERS[word]

    return read


_READ: dict[str, Callable[[str], Change]] = {
    "max_keep_alive_seconds": _seconds,
    "max_num_ctx": _number("--num-ctx", 0, _COLUMN_MOST, none=True),
    "max_images": _number("--images", 0, _ITEMS_MOST),
    "max_embedding_inputs": _number("--embedding-inputs", 1, _ITEMS_MOST),
    "max_logprobs": _number("--logprobs", 0, LOGPROBS_AT_MOST),
    "allow_raw": _answer("--raw"),
    "allow_context": _answer("--context"),
}
