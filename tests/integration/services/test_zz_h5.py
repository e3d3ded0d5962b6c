import asyncio, random, gc
from neuronetz_gateway.wiring import build_services
from tests.support.gateways import make_settings
async def test_x(stores):
    for i in range(25):
        s = build_services(make_settings(stores, "http://127.0.0.1:9", audit_checkpoint_s=0.05, prompt_log_key="k"*40))
        s.chains.upkeep._jitter = random.random
        s.chains.upkeep._chores = tuple(__import__("dataclasses").replace(c, every_seconds=0.02) for c in s.chains.upkeep._chores)
        await s.chains.upkeep.start()
        await asyncio.sleep(random.random()*0.15)
        await s.chains.upkeep.aclose()
        await s.aclose()
        gc.collect()
