-- Begins to rebuild a tenant: leaves a mark that is gone with everything else when the server loses its memory again.
-- warm.lua stands before it.
--
-- KEYS  1 the tenant's sentinel  2 mark of this rebuild
-- ARGV  1 life of the mark in ms  2 run id
-- Reply us of now, or 0 where the tenant is warm
if told_at(KEYS[1], ARGV[2]) then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[1])
local time = redis.call('TIME')
return tonumber(time[1]) * 1000000 + tonumber(time[2])
