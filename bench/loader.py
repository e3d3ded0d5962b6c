"""The process that puts a load on a target: a Load as JSON on stdin, what came of it on stdout."""

import gc
import json
import os
import shutil
import sys

import uvloop

from bench import procstat, wrk
from bench.callers import run_callers
from bench.load import Load


def main() -> None:
    gc.disable()  # what is kept has no circles, and there is much of it
    load = Load(**json.load(sys.stdin))
    if load.core is not None:
        procstat.pin([os.getpid()], load.core)
    program = shutil.which("wrk")
    # wrk knows neither the times within a stream nor when to stop but by the clock
    alone = program is None or load.stamped or load.once or load.most or load.interval_seconds
    print(json.dumps(uvloop.run(run_callers(load)) if alone or program is None else wrk.run(program, load)))


if __name__ == "__main__":
    main()
