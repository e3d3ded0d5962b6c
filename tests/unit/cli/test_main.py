"""The command line itself: its help pages, its one line for every mistake."""

import pytest

from neuronetz_gateway.cli.command_table import COMMANDS, GROUPS
from neuronetz_gateway.cli.main import one_line, status_of
from neuronetz_gateway.embedded.child import EmbeddedError
from neuronetz_gateway.errors import NotFoundError
from tests.support.commands import command

KEY = "nz_" + "A1b2C3d4E" + "s" * 32
KEEP_ALIVE = "--keep-alive takes a length of time up to 365d such as 90s, 30m or 12h, or the words none or inherit."


def test_every_command_of_the_contract_is_there() -> None:
    assert {entry.name for entry in COMMANDS} == {
        "create-tenant", "create-key", "list-keys", "revoke-key", "rotate-key", "set-budget", "set-limits",
        "set-models", "show-usage", "list-models", "list-tenants", "suspend-tenant", "migrate", "serve", "quickstart",
        "set-prompt-logging", "adjust-usage", "audit list", "audit export", "audit reconcile", "audit list-prompts",
        "audit show-prompt", "audit erase-prompts", "audit verify", "audit checkpoints", "set-policy", "set-networks",
        "doctor",
    }  # fmt: skip


@pytest.mark.parametrize("name", [entry.name for entry in COMMANDS])
def test_the_help_page_of_each_command_has_examples(name: str) -> None:
    page = command(*name.split(), "--help")
    assert page.status == 0
    assert "Examples:" in page.out
    assert f"neuronetz-gateway {name}" in page.out
    assert "--json" in page.out
    assert ("--env-file" in page.out) == (name != "quickstart")  # which writes that file itself


def test_the_first_page_names_every_command() -> None:
    page = command("--help")
    assert page.status == 0
    assert all(entry.name.split()[0] in page.out for entry in COMMANDS)


@pytest.mark.parametrize("group", GROUPS)
def test_the_page_of_a_group_names_its_commands(group: str) -> None:
    page = command(group, "--help")
    assert page.status == 0
    names = [entry.name.split() for entry in COMMANDS]
    assert all(name[1] in page.out for name in names if name[0] == group and len(name) > 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such"], "No such command 'no-such'."),
        (["create-tenant"], "Missing option '--name'."),
        (["create-tenant", "--name"], "Option '--name' requires an argument."),
        (["serve", "--port", "70000"], "Invalid value for '--port'"),
        (["set-budget", "--tenant", "a", "--key", "nz_A1b2C3d4E"], "either --tenant or --key, not both"),
        (["set-budget", "--tenant", "a"], "--daily N, --monthly N, --total N"),
        (["set-budget", "--tenant", "a", "--daily", "lots"], "--daily takes a whole number from 0"),
        (["set-limits", "--tenant", "a"], "--rpm N, --tpm N, --concurrent N"),
        (["set-limits", "--rpm", "1"], "--tenant NAME or --key PREFIX"),
        (["set-models", "--tenant", "a"], "--models A,B or --allow-all or --no-allow-all"),
        (["set-models", "--tenant", "a", "--models", "x", "--allow-all"], "one of them"),
        (["set-models", "--tenant", "a", "--may-load-models"], "--key PREFIX"),
        (["create-key", "--tenant", "a", "--name", "b", "--expires", "soon"], "--expires takes a date"),
        (["create-key", "--tenant", "a", "--name", "b", "--models", "gpt:cloud"], "cloud models are not served here"),
        (["rotate-key", "--prefix", "nz_A1b2C3d4E", "--overlap", "long"], "--overlap takes a length of time"),
        (["create-key", "--tenant", "a", "--name", "b", "--networks", "10.0.0.1/8"], "--networks: '10.0.0.1/8' is no"),
        (["set-networks", "--key", "nz_A1b2C3d4E"], "--allow CIDR,CIDR or --anywhere"),
        (["set-networks", "--key", "nz_A1b2C3d4E", "--allow", "::1", "--anywhere"], "one of them"),
        (["set-networks", "--key", "nz_A1b2C3d4E", "--allow", "fe80::1%eth0"], "'fe80::1%eth0' is no network"),
        (["set-networks", "--key", "nz_A1b2C3d4E", "--allow", ",".join(["::1"] * 201)], "200 networks at most"),
        (["set-networks", "--anywhere"], "Missing option '--key'."),
        (["set-policy", "--key", "nz_A1b2C3d4E"], "--keep-alive, --num-ctx"),
        (["set-policy", "--key", "nz_A1b2C3d4E", "--keep-alive", "soon"], KEEP_ALIVE),
        (["set-policy", "--key", "nz_A1b2C3d4E", "--keep-alive", "600"], KEEP_ALIVE),
        (["set-policy", "--key", "nz_A1b2C3d4E", "--keep-alive", "366d"], KEEP_ALIVE),
        (["set-policy", "--key", "nz_A1b2C3d4E", "--keep-alive", "999999999999999999d"], KEEP_ALIVE),
        (["set-policy", "--key", "nz_A1b2C3d4E", "--num-ctx", "-1"], "--num-ctx takes a whole number from 0"),
        (["set-policy", "--key", "nz_A1b2C3d4E", "--num-ctx", "2147483648"], "to 2147483647 or the words none or"),
        (["set-policy", "--key", "nz_A1b2C3d4E", "--images", "none"], "--images takes a whole number from 0"),
        (["set-policy", "--key", "nz_A1b2C3d4E", "--embedding-inputs", "0"], "a whole number from 1"),
        (["set-policy", "--key", "nz_A1b2C3d4E", "--logprobs", "21"], "from 0 to 20 or the word inherit"),
        (["set-policy", "--key", "nz_A1b2C3d4E", "--raw", "maybe"], "--raw takes yes, no or inherit"),
        (["quickstart", "--port", "-1"], "Invalid value for '--port'"),
    ],
)
def test_a_mistake_is_told_in_one_line(words: list[str], message: str) -> None:
    assert message in command(*words).error


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (["no-such"], "neuronetz-gateway --help"),
        (["create-key"], "neuronetz-gateway create-key --help"),
        (["show-usage", "acme"], "neuronetz-gateway show-usage --help"),
    ],
)
def test_a_command_that_is_typed_wrong_names_the_page_that_shows_it(words: list[str], page: str) -> None:
    assert command(*words).error.endswith(f"See: {page}")


@pytest.mark.promise("A7")
@pytest.mark.parametrize(
    "words",
    [
        ["revoke-key", "--prefix", KEY],
        ["rotate-key", "--prefix", KEY],
        ["show-usage", "--key", KEY],
        ["set-budget", "--key", KEY, "--daily", "1"],
        ["revoke-key", KEY],
        [KEY],
        ["revoke-key", f"--{KEY}"],
        ["set-limits", "--tenant", "a", "--rpm", KEY],
        ["create-key", "--tenant", "a", "--name", "b", "--expires", KEY],
        ["create-key", "--tenant", "a", "--name", "b", "--models", KEY],
        ["create-key", "--tenant", "a", "--name", "b", "--networks", KEY],
        ["set-networks", "--key", KEY, "--anywhere"],
        ["set-networks", "--key", KEY[:12], "--allow", KEY],
        ["set-policy", "--key", KEY, "--reset"],
        ["set-policy", "--key", KEY[:12], "--raw", KEY],
    ],
)
def test_a_whole_key_in_the_wrong_place_is_never_repeated(words: list[str]) -> None:
    assert KEY[12:] not in command(*words).error.replace("nz_...", "")
    assert KEY[12:].lower() not in command(*words).error.lower()


@pytest.mark.usefixtures("no_settings")
def test_settings_that_lack_something_are_told_in_one_line() -> None:
    said = (
        "DATABASE_URL, REDIS_URL and KEY_PEPPER are not set, neither in the environment nor in an env file (--env-file)"
    )
    assert command("list-tenants").error == said


@pytest.mark.usefixtures("no_settings")
def test_an_env_file_that_is_not_there_is_told_in_one_line() -> None:
    assert "The env file nowhere.env does not exist" in command("list-tenants", "--env-file", "nowhere.env").error


def test_an_unknown_failure_tells_its_kind_but_not_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise RuntimeError(f"secret {KEY}")

    assert status_of(broken) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: unexpected RuntimeError")
    assert "secret" not in told


@pytest.mark.parametrize("error", [NotFoundError("There is no tenant 'x'."), EmbeddedError("There is no tenant 'x'.")])
def test_a_refusal_is_told_in_its_own_words(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> None:
        raise error

    assert status_of(refused) == 1
    assert capsys.readouterr().err == "error: There is no tenant 'x'.\n"


def test_of_a_long_message_the_first_and_the_last_line_are_kept() -> None:
    assert one_line("Postgres ended. Its log says:\n  starting\n\n  FATAL:   no space  \n") == (
        "Postgres ended. Its log says: FATAL: no space"
    )
    assert one_line(f"a\x1b[2J{KEY}") == "a[2Jnz_..."
