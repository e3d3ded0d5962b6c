"""The ways to write a model's name that Ollama takes for it, or for another one (OLLAMA §4.1)."""

_UNICODE_SPACES = ("\u00a0", "\u2003", "\u3000", "\u0085", "\u2028")


def equivalents(model: str) -> list[str]:
    """Spellings with each of which Ollama runs `model` itself."""
    title = model.title()
    plain = [
        model, f"{model}:latest", model.upper(), title, f"{title}:LATEST", f"{model}:Latest",
        f"library/{model}", f"LIBRARY/{model}:latest", f"Library/{title}",
        f"registry.ollama.ai/library/{model}", f"REGISTRY.ollama.AI/Library/{title}:Latest",
    ]  # fmt: skip
    schemes = [f"{scheme}://registry.ollama.ai/library/{model}" for scheme in ("https", "http", "zzz", "HTTPS", "")]
    spaces = [f" {model}", f"{model} ", f"\t{model}\n", f"\r\n{model}", f"{model}\v", f"\f{model}"]
    unicode_spaces = [f"{space}{model}{space}" for space in _UNICODE_SPACES]
    directions = [f"{model}:local", f"{model}:LOCAL", f"{model}:latest:local", f"{model}: local", f"{model}:local "]
    return [*plain, *schemes, *spaces, *unicode_spaces, *directions]


def elsewhere(model: str) -> list[str]:
    """Spellings with which a request would leave the machine, or that are no name of `model` at all."""
    return [
        f"{model}:cloud", f"{model}:CLOUD", f"{model}: cloud", f"{model}:8b-cloud", f"{model}:8b-CLOUD",
        f"{model}:latest:cloud", f"{model}:cloud:local", f"library/{model}:cloud", f"{model}:\tcloud",
        f"{model}-cloud:cloud", f"{model}@sha256:{'0' * 64}", f"{model}:latest@sha256:{'0' * 64}", f"@{model}",
        f"hf.co/x/{model}", f"ollama.com/library/{model}", f"registry.ollama.ai:443/library/{model}",
        f"127.0.0.1/library/{model}", f"localhost:11434/library/{model}", f"user@host/library/{model}",
        f"../{model}", f"./{model}", f"/{model}", f"{model}/", f"a//{model}", f"library/../{model}", f"..%2f{model}",
        f"{model}%3Alatest", f"%66{model[1:]}", f"{model}\x00", f"{model}\u200b", f"\ufeff{model}", f"{model}\u0301",
        f"{model}:", f"{model}::latest", f"{model}:latest:latest", f":{model}", "", " ", ":latest", ".", "..", "/",
        "f\u0430kea", "\uff46akea", f"{model};", f"{model}?x", f"{model}#x", f"{model}\\", f"{model},{model}",
        f"{model}|x",
    ]  # fmt: skip


def path_spellings(name: str) -> list[str]:
    """A name as the end of a path, as it stands or encoded for it."""
    encoded = "".join(f"%{byte:02x}" for byte in name.encode("utf-8", "surrogatepass"))
    kept = "".join(c if c.isascii() and c.isalnum() else encoded_of(c) for c in name)
    twice = kept.replace("%", "%25")
    plain = [name] if name.isascii() and name.isprintable() and not set(name) & set(" ?#") else []
    return [*plain, encoded, kept, twice, kept + "/", kept + "%2f", kept + "?x=1", kept + "%00", "%2e%2e%2f" + kept]


def encoded_of(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
