"""docs/ARCHITECTURE.md: its floors are those that imports are held to, its steps those of a request."""

import re

from tests.architecture.test_floors import FLOORS
from tests.support.documents import ROOT, text_of

PAGE = text_of("docs/ARCHITECTURE.md")
ROW = re.compile(r"^\| (\d) \| ([^|]+) \|", re.MULTILINE)


def test_the_table_of_floors_is_the_one_that_holds() -> None:
    shown = {
        room.strip("`").removesuffix("/").removesuffix(".py"): int(floor)
        for floor, rooms in ROW.findall(PAGE)
        for room in rooms.split(", ")
    }
    assert shown == FLOORS


def test_the_steps_of_a_request_stand_in_the_order_of_the_chain() -> None:
    app = (ROOT / "src" / "neuronetz_gateway" / "app.py").read_text("utf-8")
    chain = app[app.index("def chain_of") :]
    first = re.findall(r"Middleware\(\s*(\w+)", app[app.index("def _first_steps") : app.index("def _through")])
    rest = re.findall(r"Middleware\(\s*(\w+)", chain[: chain.index("return")])
    modules = dict(re.findall(r"from neuronetz_gateway\.http\.middleware\.(\w+) import (\w+)", app))
    wanted = [next(module for module, name in modules.items() if name == step) for step in (*first, *rest)]
    steps = PAGE.partition("## The way of one request")[2].partition("11. ")[0]
    assert re.findall(r"^\d+\. \*\*.*`http/middleware/(\w+)\.py`", steps, re.MULTILINE) == wanted
