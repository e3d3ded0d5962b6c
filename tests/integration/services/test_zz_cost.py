import asyncio, time
from tests.integration.services.test_rate_rebuilding import *
from tests.integration.services.test_rate_rebuilding import _started
async def test_cost(server, world, gateway):
    ps = [await world.caller() for _ in range(300)]
    for p in ps[:100]: await gateway.rebuilder.warm(p)
    for label, some, at in (("one by one", ps[100:200], 1), ("all at once", ps[200:300], 100)):
        t0, w0 = time.process_time(), time.perf_counter()
        if at == 1:
            for p in some: await gateway.rebuilder.warm(p)
        else:
            await asyncio.gather(*(gateway.rebuilder.warm(p) for p in some))
        print(f"{label}: {(time.process_time()-t0)*10:.2f} ms CPU, {(time.perf_counter()-w0)*10:.2f} ms wall a rebuild")
async def test_lua(server, connection):
    counters, tenant_id = RateCounters(connection), uuid7()
    keys = [uuid7() for _ in range(50)]
    rebuild_id = await begun(counters, tenant_id)
    newest = int(datetime.now(UTC).timestamp()) - 1
    buckets = tuple(Bucket(key, newest - second, 2, 30) for key in keys for second in range(58))
    under_way = tuple(OpenRequest(uuid7(), keys[number % 50], newest, 3) for number in range(10_000))
    await connection.call("CONFIG", "RESETSTAT")
    t=time.process_time()
    assert await counters.finish_rebuild(tenant_id, rebuild_id, 1, RateHistory(buckets, under_way))
    print("CPU gateway ms", (time.process_time()-t)*1e3)
    print([v for k,v in server.ask("INFO","commandstats").items() if "eval" in k])
