"""The welcome of a quickstart: what to paste to see it work."""

from pathlib import Path
from string import Template

from rich.console import Console
from rich.rule import Rule

from neuronetz_gateway.cli.invocation import command_line, interpreter
from neuronetz_gateway.cli.output import console

_NO_KEY = "YOUR_KEY"
_NO_MODEL = "llama3.2:1b"
_CURL = Template("""\
curl -s $base_url/api/chat -H 'Authorization: Bearer $key' -H 'Content-Type: application/json' \\
  -d '{"model": "$model", "stream": false, "options": {"num_predict": 100},
       "messages": [{"role": "user", "content": "Say hello."}]}'""")
_OLLAMA = Template("""\
OLLAMA_HOST=$base_url OLLAMA_API_KEY=$key $python -c "
import ollama
question = {'role': 'user', 'content': 'Say hello.'}
for part in ollama.chat('$model', [question], stream=True, options={'num_predict': 100}):
    print(part.message.content, end='', flush=True)
print()\"""")
_OPENAI = Template("""\
OPENAI_BASE_URL=$base_url/v1 OPENAI_API_KEY=$key $python -c "
from openai import OpenAI
question = {'role': 'user', 'content': 'Say hello.'}
answer = OpenAI().chat.completions.create(model='$model', messages=[question], max_tokens=100)
print(answer.choices[0].message.content)\"""")
_ANTHROPIC = Template("""\
ANTHROPIC_BASE_URL=$base_url ANTHROPIC_API_KEY=$key $python -c "
from anthropic import Anthropic
question = {'role': 'user', 'content': 'Say hello.'}
answer = Anthropic().messages.create(model='$model', messages=[question], max_tokens=100)
print(''.join(block.text for block in answer.content if block.type == 'text'))\"""")


def welcome(base_url: str, key: str | None, model: str | None, upstream: str, env_file: Path) -> None:
    """Print where the gateway stands, the snippets that work as pasted, how to go on."""
    page = console()
    page.print(Rule("[bold]neuronetz-gateway is running[/bold]", align="left", style="green"))
    facts = {
        "Base URL": base_url,
        "API key": key or "(not known here)",
        "Model": model or "(none yet)",
        "Upstream": upstream,
        "Settings": str(env_file),
        "Playground": f"{base_url}/playground",
    }
    for name, value in facts.items():
        page.print(f"  [bold]{name:10}[/bold] ", end="")
        _plain(page, value)
    if model is None:
        _plain(page, f"The model server has no model yet; the snippets name {_NO_MODEL} (ollama pull {_NO_MODEL}).")
    for title, text in snippets(base_url, key or _NO_KEY, model or _NO_MODEL):
        page.print(Rule(f"[bold]{title}[/bold]", align="left", style="dim"))
        _plain(page, text)
    page.print(Rule(style="green"))
    _plain(page, f"What was used:  {command_line('show-usage', '--tenant', 'demo', env_file=env_file)}")
    _plain(page, "Ctrl-C stops everything; the data stay.")


def snippets(base_url: str, key: str, model: str) -> tuple[tuple[str, str], ...]:
    """Title and text of each snippet."""
    values = {"base_url": base_url, "key": key, "model": model, "python": interpreter()}
    return (
        ("curl", _CURL.substitute(values)),
        ("ollama (Python)", _OLLAMA.substitute(values)),
        ("openai (Python)", _OPENAI.substitute(values)),
        ("anthropic (Python)", _ANTHROPIC.substitute(values)),
    )


def _plain(page: Console, text: str) -> None:
    """Print a text as it is, so that it can be pasted."""
    page.print(text, markup=False, highlight=False, soft_wrap=True)
