-- Admits one request under the limits of a tenant and its key, or says which limit refuses it: checks all, then writes.
-- A refusal writes nothing (what has left its window may be subtracted). The clock is this server's.
-- The first write of each way is one that a server without memory refuses: then nothing at all has been written.
--
-- KEYS  1 tenant's rates  2 key's rates  3 tenant's leases  4 key's leases  5 mark of an undone id  6 warm since
-- ARGV  1 id  2 estimated tokens  3 key's expiry in us, 0 never  4 window in s  5 lease in us
--       6-8 tenant's rpm, tpm, concurrent  9-11 key's; -1 is no limit
-- Reply {'admitted', us, requests left, tokens left}  {'refused', limit, figure, left, retry in ms}
--       {'expired'}  {'undone'}
--
-- A rates hash holds one-second buckets r<second> (requests) and t<second> (tokens), their totals, and `tail`, the
-- oldest second that may have a bucket. A bucket counts for window + 1 s, so that every trailing window is exact
-- against the caller. Each bucket is added once and subtracted once: no call reads the whole window but a refused one.
local id, estimate, window, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local second = tonumber(time[1])
local now = second * 1000000 + tonumber(time[2])
local oldest = second - window

local function left_of(limit, used)
  if limit < 0 then return -1 end
  return math.max(0, limit - used)
end

local function least(one, other)
  if one < 0 then return other end
  if other < 0 then return one end
  return math.min(one, other)
end

-- Subtracts the buckets that have left the window, which end before `oldest`.
local function drop_expired(rates)
  local fields = {}
  for bucket = rates.tail, oldest - 1 do
    fields[#fields + 1] = 'r' .. bucket
    fields[#fields + 1] = 't' .. bucket
  end
  local counts = redis.call('HMGET', rates.key, unpack(fields))
  for i = 1, #counts, 2 do
    rates.requests = rates.requests - (tonumber(counts[i]) or 0)
    rates.tokens = rates.tokens - (tonumber(counts[i + 1]) or 0)
  end
  rates.tail = oldest
  redis.call('HSET', rates.key, 'requests', rates.requests, 'tokens', rates.tokens, 'tail', oldest)
  redis.call('HDEL', rates.key, unpack(fields))
  -- Once a second is enough: what is written within it leaves the window before this runs out.
  redis.call('EXPIRE', rates.key, 2 * window + 10)
end

local function rates_of(key)
  local found = redis.call('HMGET', key, 'requests', 'tokens', 'tail', 'r' .. second, 't' .. second)
  local tail = tonumber(found[3])
  -- After an idle window nothing counts any more; nor does it after the clock was set back by more than a window.
  if not tail or tail < oldest - window or tail > second then
    return { key = key, requests = 0, tokens = 0, tail = oldest, new = true, bucket_requests = 0, bucket_tokens = 0 }
  end
  local rates = {
    key = key, requests = tonumber(found[1]), tokens = tonumber(found[2]), tail = tail,
    bucket_requests = tonumber(found[4]) or 0, bucket_tokens = tonumber(found[5]) or 0,
  }
  if tail < oldest then drop_expired(rates) end
  return rates
end

-- Milliseconds until the buckets that hold the oldest `needed` of a kind ('r' or 't') have left the window.
local function wait_for(rates, kind, needed)
  local fields = {}
  for bucket = rates.tail, second do fields[#fields + 1] = kind .. bucket end
  local counts = redis.call('HMGET', rates.key, unpack(fields))
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
local expires_at = tonumber(ARGV[3])
if expires_at > 0 and expires_at <= now then return { 'expired' } end

local scopes = {
  { name = 'tenant', rates = rates_of(KEYS[1]), leases = KEYS[3], limits = 6 },
  { name = 'key', rates = rates_of(KEYS[2]), leases = KEYS[4], limits = 9 },
}
-- The same id again: the answer of the first time. Until somebody owns the admission no heartbeat moves its lease.
local held_until = redis.call('ZSCORE', KEYS[3], id)
local replayed = held_until and 1 or 0

local refusal
local function refuse(scope, axis, limit, left, wait)
  if not refusal or wait > refusal[5] then
    refusal = { 'refused', scope.name .. '.' .. axis, limit, left, wait }
  end
end

local requests_left, tokens_left = -1, -1
for _, scope in ipairs(scopes) do
  local rpm, tpm = tonumber(ARGV[scope.limits]), tonumber(ARGV[scope.limits + 1])
  local concurrent = tonumber(ARGV[scope.limits + 2])
  local rates = scope.rates
  local more, weight = 1 - replayed, estimate * (1 - replayed)
  if not held_until then
    if rpm >= 0 and rates.requests + 1 > rpm then
      refuse(scope, 'rpm', rpm, left_of(rpm, rates.requests), wait_for(rates, 'r', rates.requests + 1 - rpm))
    end
    if tpm >= 0 and estimate > 0 and rates.tokens + estimate > tpm then
      refuse(scope, 'tpm', tpm, left_of(tpm, rates.tokens), wait_for(rates, 't', rates.tokens + estimate - tpm))
    end
    if concurrent >= 0 and redis.call('ZCOUNT', scope.leases, now + 1, '+inf') >= concurrent then
      refuse(scope, 'concurrent', concurrent, 0, 1000)
    end
  end
  requests_left = least(requests_left, left_of(rpm, rates.requests + more))
  tokens_left = least(tokens_left, left_of(tpm, rates.tokens + weight))
end
if held_until then return { 'admitted', tonumber(held_until) - lease, requests_left, tokens_left } end
if refusal then return refusal end

-- A day: longer than any lease can live without a heartbeat, which renews it.
redis.call('SET', KEYS[6], now, 'NX', 'EX', 86400)
for _, scope in ipairs(scopes) do
  write_rates(scope.rates)
  redis.call('ZREMRANGEBYSCORE', scope.leases, '-inf', now)
  redis.call('ZADD', scope.leases, now + lease, id)
  redis.call('PEXPIRE', scope.leases, math.ceil(lease / 1000) + 1000)
end
return { 'admitted', now, requests_left, tokens_left }
