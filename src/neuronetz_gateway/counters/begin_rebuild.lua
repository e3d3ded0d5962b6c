-- Begins to rebuild a tenant: leaves a mark, which is gone with everything else when the server loses its memory again.
-- One rebuild a tenant at a time, over all processes; one that never ends is forgotten with its mark.
-- warm.lua stands before it.
--
-- KEYS  1 the tenant's sentinel  2 mark of the rebuild
-- ARGV  1 id of the rebuild  2 life of the mark in ms  3 run id
-- Reply us of now, 0 the tenant is warm, -1 another rebuild is under way
local run_id = ARGV[3]
if told_at(KEYS[1], run_id) then return 0 end
-- told_at reads a mark, too: a run id, a colon, then an id. One of another server came with a snapshot.
if told_at(KEYS[2], run_id) then return -1 end
redis.call('SET', KEYS[2], run_id .. ':' .. ARGV[1], 'PX', ARGV[2])
local time = redis.call('TIME')
return tonumber(time[1]) * 1000000 + tonumber(time[2])
