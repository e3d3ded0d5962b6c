-- Extends the leases of one tenant that a process holds, and tells which of them are lost.
-- A lease that is missing because the server lost its memory since the admission, or was not there to extend it, is put
-- back; one that is missing otherwise ran out, so its place may be taken: its owner has to stop.
--
-- KEYS  1 warm since  2 tenant's leases  3... the key's leases of each admission
-- ARGV  1 lease in us  then for each admission: id, time of admission in us
-- Reply the positions, from 1, of the lost ones
local lease = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local warm_since = tonumber(redis.call('GET', KEYS[1]) or now)
-- EXPIRE comes first: it is allowed without memory, and after it so is the rest. Leases must outlast a full server.
if redis.call('EXPIRE', KEYS[1], 86400) == 0 then redis.call('SET', KEYS[1], now, 'EX', 86400) end

-- When this server was started, to the second; asked only where a lease is missing.
local started_at
local function started()
  if not started_at then
    local uptime = string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')
    started_at = now - math.max(1, tonumber(uptime)) * 1000000
  end
  return started_at
end

local lost = {}
for i = 1, #KEYS - 2 do
  local id, admitted_at = ARGV[2 * i], tonumber(ARGV[2 * i + 1])
  if redis.call('ZSCORE', KEYS[2], id) or admitted_at < warm_since or admitted_at < started() then
    for _, leases in ipairs({ KEYS[2], KEYS[2 + i] }) do
      redis.call('ZADD', leases, now + lease, id)
      redis.call('PEXPIRE', leases, math.ceil(lease / 1000) + 1000)
    end
  else
    lost[#lost + 1] = i
  end
end
return lost
