-- Admits one request under the limits of a tenant and its key, or says which limit refuses it: checks all, then writes.
-- A refusal writes nothing (what has left its window may be subtracted). warm.lua and rates.lua stand before it.
-- The first write of each way is one that a server without memory refuses: then nothing at all has been written.
-- Of a cold tenant nothing is admitted: it has to be rebuilt. Nor is anything for a principal that was read before the
-- tenant was rebuilt, since the ledger would not have it.
--
-- KEYS  1 tenant's rates  2 key's rates  3 tenant's leases  4 key's leases  5 mark of an ended id  6 tenant's sentinel
-- ARGV  1 window in s  2 id  3 estimated tokens  4 key's expiry in us, 0 never  5 lease in us
--       6-8 tenant's rpm, tpm, concurrent  9-11 key's; -1 is no limit  12 tenant's version  13 run id
-- Reply {'admitted', us, standing}  {'refused', us, standing, limit, figure, left, retry in ms}
--       {'expired'}  {'undone'}  {'cold'}  {'stale'}
--       A standing is of the scope that has the least left, the key's of equals, the refusing one's of the axis that
--       refuses, with the request itself if it is admitted. Of requests, then of tokens: limit, left, second of the
--       newest bucket (0 nothing counted, -1 unknown); -1 -1 -1 without a limit.
local id, estimate, lease, run_id = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5]), ARGV[13]
local version = told_at(KEYS[6], run_id)
if not version then return { 'cold' } end
if tonumber(ARGV[12]) < tonumber(version) then return { 'stale' } end

local function drop_expired(rates)
  redis.call('HSET', rates.key, 'requests', rates.requests, 'tokens', rates.tokens, 'tail', rates.tail)
  redis.call('HDEL', rates.key, unpack(rates.expired))
  -- Once a second is enough: what is written within it leaves the window before this runs out.
  redis.call('EXPIRE', rates.key, 2 * window + 10)
end

-- Milliseconds until the buckets that hold the oldest `needed` of a kind ('r' or 't') have left the window.
local function wait_for(rates, kind, needed)
  local counts = counts_of(rates, kind, rates.tail, second)
  rates[kind] = counts
  for i = 1, #counts do
    needed = needed - (tonumber(counts[i]) or 0)
    if needed <= 0 then
      return math.ceil(((rates.tail + i - 1 + window + 1) * 1000000 - now) / 1000)
    end
  end
  return (window + 1) * 1000
end

local function write_rates(rates)
  if rates.new then redis.call('DEL', rates.key) end
  redis.call('HSET', rates.key, 'requests', rates.requests + 1, 'tokens', rates.tokens + estimate, 'tail', rates.tail,
    'r' .. second, rates.bucket_requests + 1, 't' .. second, rates.bucket_tokens + estimate)
  if rates.new then redis.call('EXPIRE', rates.key, 2 * window + 10) end
end

if redis.call('EXISTS', KEYS[5]) == 1 then return { 'undone' } end
local expires_at = tonumber(ARGV[4])
if expires_at > 0 and expires_at <= now then return { 'expired' } end

local scopes = {
  { name = 'tenant', rates = rates_of(KEYS[1]), leases = KEYS[3], limits = 6 },
  { name = 'key', rates = rates_of(KEYS[2]), leases = KEYS[4], limits = 9 },
}
for _, scope in ipairs(scopes) do
  if scope.rates.expired then drop_expired(scope.rates) end
end
-- The same id again: the answer of the first time. Until somebody owns the admission no heartbeat moves its lease.
local held_until = redis.call('ZSCORE', KEYS[3], id)

-- Of requests and of tokens: the limit, what is left, the rates of the scope that has the least left.
local least = {}
local function note(axis, limit, used, rates)
  if limit < 0 then return end
  local left = math.max(0, limit - used)
  if not least[axis] or left <= least[axis].left then least[axis] = { limit = limit, left = left, rates = rates } end
end

local refusal
local function refuse(scope, axis, limit, used, wait)
  if not refusal or wait > refusal.wait then
    refusal = { name = scope.name .. '.' .. axis, axis = axis, limit = limit, left = math.max(0, limit - used),
      wait = wait, rates = scope.rates }
  end
end

for _, scope in ipairs(scopes) do
  local rpm, tpm = tonumber(ARGV[scope.limits]), tonumber(ARGV[scope.limits + 1])
  local concurrent = tonumber(ARGV[scope.limits + 2])
  local rates = scope.rates
  if not held_until then
    if rpm >= 0 and rates.requests + 1 > rpm then
      refuse(scope, 'rpm', rpm, rates.requests, wait_for(rates, 'r', rates.requests + 1 - rpm))
    end
    if tpm >= 0 and estimate > 0 and rates.tokens + estimate > tpm then
      refuse(scope, 'tpm', tpm, rates.tokens, wait_for(rates, 't', rates.tokens + estimate - tpm))
    end
    if concurrent >= 0 and held_in(scope.leases) >= concurrent then
      refuse(scope, 'concurrent', concurrent, concurrent, 1000)
    end
  end
  note('rpm', rpm, rates.requests, rates)
  note('tpm', tpm, rates.tokens, rates)
end

-- The reply so far, with what this request adds; its own bucket is the newest one then.
local function standing(verdict, us, requests, tokens)
  local reply = { verdict, us }
  for axis, kind in ipairs({ 'r', 't' }) do
    local figures, added = least.rpm, requests
    if axis == 2 then figures, added = least.tpm, tokens end
    if figures then
      reply[#reply + 1] = figures.limit
      reply[#reply + 1] = math.max(0, figures.left - added)
      reply[#reply + 1] = added > 0 and second or newest(figures.rates, kind)
    else
      for _ = 1, 3 do reply[#reply + 1] = -1 end
    end
  end
  return reply
end

if held_until then return standing('admitted', tonumber(held_until) - lease, 0, 0) end
if refusal then
  if least[refusal.axis] then least[refusal.axis] = refusal end
  local reply = standing('refused', now, 0, 0)
  for _, figure in ipairs({ refusal.name, refusal.limit, refusal.left, refusal.wait }) do reply[#reply + 1] = figure end
  return reply
end

-- A day from the last admission: longer than any window or lease.
redis.call('SET', KEYS[6], run_id .. ':' .. version, 'EX', 86400)
for _, scope in ipairs(scopes) do
  write_rates(scope.rates)
  redis.call('ZREMRANGEBYSCORE', scope.leases, '-inf', now)
  redis.call('ZADD', scope.leases, now + lease, id)
  redis.call('PEXPIRE', scope.leases, math.ceil(lease / 1000) + 1000)
end
return standing('admitted', now, 1, estimate)
