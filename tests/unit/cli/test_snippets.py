"""What a quickstart prints to paste."""

import subprocess
from pathlib import Path

import pytest

from neuronetz_gateway.cli.snippets import snippets, welcome


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_each_snippet_is_whole_for_a_shell(number: int) -> None:
    _, text = snippets("http://127.0.0.1:1", "nz_key", "smollm2:135m")[number]
    assert subprocess.run(["bash", "-n", "-c", text], check=False).returncode == 0
    assert "nz_key" in text
    assert "smollm2:135m" in text


def test_the_welcome_can_be_pasted_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    welcome("http://127.0.0.1:1", "nz_key", "smollm2:135m", "Found Ollama.", tmp_path / "gateway.env")
    page = capsys.readouterr().out
    assert all(text in page for _, text in snippets("http://127.0.0.1:1", "nz_key", "smollm2:135m"))
    assert "Found Ollama." in page
    assert str(tmp_path / "gateway.env") in page


def test_without_a_key_or_a_model_the_welcome_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    welcome("http://127.0.0.1:1", None, None, "Found Ollama.", tmp_path / "gateway.env")
    page = capsys.readouterr().out
    assert "YOUR_KEY" in page
    assert "ollama pull" in page
