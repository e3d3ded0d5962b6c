"""The load by wrk, which costs a fraction of what a client in Python does."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

from bench.load import Load

PATIENCE_SECONDS = 60
_BEGIN = """
local function content(path)
  local file = assert(io.open(path, 'rb'))
  local all = file:read('*a')
  file:close()
  return all
end
local threads, prebuilt, turn = {}, {}, 0
others = 0
setup = function(thread) threads[#threads + 1] = thread end
wrk.method = 'POST'
wrk.headers['Content-Type'] = 'application/json'
"""
_KEYS = """
init = function(args)
  for key in io.lines(KEYS) do
    wrk.headers['Authorization'] = 'Bearer ' .. key
    prebuilt[#prebuilt + 1] = wrk.format()
  end
end
request = function()
  turn = turn % #prebuilt + 1
  return prebuilt[turn]
end
"""
# Only where another status than 200 is wanted: wrk itself counts what is above 399, a function costs it more.
_STATUS = """
response = function(status)
  if status ~= STATUS then others = others + 1 end
end
"""
# wrk calls done() once; what it prints is the only line in braces.
_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.timeout
  if STATUS == 200 then failed = failed + e.status end
  for _, thread in ipairs(threads) do failed = failed + thread:get('others') end
  io.write(string.format('{"answers":%d,"seconds":%.6f,"failed":%d,"p50_ms":%.4f,"p99_ms":%.4f}\\n',
    summary.requests, summary.duration / 1e6, failed,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


def run(program: str, load: Load) -> dict[str, float]:
    """Raises ValueError where wrk printed no result."""
    with tempfile.TemporaryDirectory() as folder:
        script = _script(load, Path(folder))
        amount = [f"-c{load.connections}", f"-d{max(1, round(load.seconds))}s", "--timeout", "20s"]
        command = [program, "-t1", *amount, "-s", str(script), load.url]
        patience = load.seconds + PATIENCE_SECONDS
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=True)
    found = re.search(r"^\{.*\}$", done.stdout, re.MULTILINE)
    if found is None:
        raise ValueError(done.stdout + done.stderr)
    result: dict[str, float] = json.loads(found[0])
    return result


def _script(load: Load, folder: Path) -> Path:
    """The words of wrk, with body and keys in files: they may be large, they may hold anything."""
    body, keys, script = folder / "body", folder / "keys", folder / "load.lua"
    body.write_text(load.body)
    keys.write_text("\n".join(load.keys))
    lines = [f"STATUS = {load.status or 200}", f"KEYS = {json.dumps(str(keys))}", _BEGIN]
    lines += [f"wrk.body = content({json.dumps(str(body))})"]
    lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in load.headers.items()]
    lines += [_KEYS] if load.keys else []
    lines += [_STATUS] if load.status not in {0, 200} else []
    script.write_text("\n".join([*lines, _DONE]))
    return script
