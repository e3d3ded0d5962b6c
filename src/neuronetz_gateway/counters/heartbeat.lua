-- Extends the leases of one tenant that a process holds, and tells which of them are lost: they ran out, so that their
-- places may be taken, and their owners have to stop. Of a cold tenant none is lost: nobody is admitted before its open
-- requests have their leases back (rebuild.lua). warm.lua stands before it.
--
-- KEYS  1 the tenant's sentinel  2 tenant's leases  3... the key's leases of each admission
-- ARGV  1 lease in us  then the id of each admission  then the run id
-- Reply the positions, from 1, of the lost ones
if not told_at(KEYS[1], ARGV[#ARGV]) then return {} end
local lease = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
-- EXPIRE comes first: it is allowed without memory, and after it so is the rest. Leases must outlast a full server.
redis.call('EXPIRE', KEYS[1], 86400)

local lost = {}
for i = 1, #KEYS - 2 do
  local id = ARGV[1 + i]
  if redis.call('ZSCORE', KEYS[2], id) then
    for _, leases in ipairs({ KEYS[2], KEYS[2 + i] }) do
      redis.call('ZADD', leases, now + lease, id)
      redis.call('PEXPIRE', leases, math.ceil(lease / 1000) + 1000)
    end
  else
    lost[#lost + 1] = i
  end
end
return lost
