"""Draws docs/images/terminal.svg, what `show-usage` shows of a tenant: `python -m tests.support.terminal_picture`."""

import os
import pty
import re
import subprocess
import tempfile
import termios
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from bench.children import stop
from bench.gateway import PROGRAM, start
from bench.history import opened, owners
from bench.history_filling import fill
from bench.targets import free_port
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.db.connecting import connector
from neuronetz_gateway.wiring import Services

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "terminal.svg"
COLUMNS = 100
TENANT = "acme"
GROWTH = ((14, 2_600), (9, 2_100), (6, 1_500), (3, 900))  # days back from now, requests over them
NOWHERE = "http://127.0.0.1:9"  # nobody asks a model here
THEME = TerminalTheme(
    (18, 20, 28), (222, 226, 236),
    [(18, 20, 28), (240, 113, 120), (126, 199, 124), (229, 192, 123), (97, 151, 255), (198, 120, 221), (86, 182, 194),
     (200, 204, 212)],
    [(110, 116, 130), (240, 113, 120), (126, 199, 124), (229, 192, 123), (97, 151, 255), (198, 120, 221),
     (86, 182, 194), (255, 255, 255)],
)  # fmt: skip
# What the rows of the past would have used of the budgets, had they been requests.
USED = """
insert into budget_usage (tenant_id, scope_id, period, window_start, used, reserved)
select tenant_id, tenant_id, 'daily', max(day), sum(charged_tokens), 0 from audit_log
where tenant_id = $1 and day = date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' group by tenant_id
union all
select tenant_id, tenant_id, 'monthly', max(month), sum(charged_tokens), 0 from audit_log
where tenant_id = $1 and month = date_trunc('month', now() at time zone 'UTC') at time zone 'UTC' group by tenant_id
on conflict do nothing
"""


async def prepare(services: Services) -> None:
    """A tenant with two weeks behind it."""
    owner, _ = await owners(services, 2)
    for days, rows in GROWTH:
        await fill(services.settings, [owner, owner], rows=rows, days=days, hot_share=1.0)
    url = services.settings.database_url.get_secret_value()
    connection = await connector(url, connect_timeout_seconds=10)()
    try:
        await connection.execute(USED, owner.tenant_id)
        await connection.execute("update tenants set name = $2 where id = $1", owner.tenant_id, TENANT)
    finally:
        await connection.close()


def shown(env_file: Path, *words: str) -> str:
    """What a command writes to a terminal, colours included."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (50, COLUMNS))
    environment = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
    command = [PROGRAM, *words, "--env-file", str(env_file)]
    running = subprocess.Popen(command, env=environment | {"TERM": "xterm-256color"}, stdout=its, stdin=its)
    os.close(its)
    text = bytearray()
    with suppress(OSError):  # how Linux tells that nobody has the other side any more
        while more := os.read(ours, 65536):
            text += more
    os.close(ours)
    if running.wait():
        raise RuntimeError(f"{words[0]} ended with {running.returncode}")
    return text.decode().replace("\r\n", "\n")


def drawn(text: str) -> str:
    """An SVG of a terminal with this text; it asks no other host for its letters."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        console.print(Text.from_ansi(text))
        svg = console.export_svg(title="neuronetz-gateway", theme=THEME)
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="picture-") as folder:
        running = start(Path(folder) / "gateway", free_port(), NOWHERE, Path(folder) / "gateway.log")
        try:
            run(opened, prepare, running.env_file)
            for words in (
                ("set-limits", "--tenant", TENANT, "--rpm", "120", "--tpm", "200000", "--concurrent", "16"),
                ("set-budget", "--tenant", TENANT, "--daily", "600000", "--monthly", "6000000"),
            ):
                shown(running.env_file, *words)
            usage = shown(running.env_file, "show-usage", "--tenant", TENANT, "--days", "7")
        finally:
            stop(running.process)
    PICTURE.write_text(drawn(f"$ neuronetz-gateway show-usage --tenant {TENANT} --days 7\n{usage}"), encoding="utf-8")
    print(f"written to {PICTURE.name}")


if __name__ == "__main__":
    main()
