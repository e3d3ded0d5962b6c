-- How the windows of tenants and keys are read, without writing; stands before each script that reads them.
--
-- ARGV 1 window in s (its script's own follow)
--
-- A rates hash holds one-second buckets r<second> (requests) and t<second> (tokens), their totals, and `tail`, the
-- oldest second that may have a bucket. A bucket counts for window + 1 s, so that every trailing window is exact
-- against the caller. Each bucket is added once and subtracted once: no call reads the whole window unless it has to
-- say when buckets leave it. The clock is this server's.
local window = tonumber(ARGV[1])
local time = redis.call('TIME')
local second = tonumber(time[1])
local now = second * 1000000 + tonumber(time[2])
local oldest = second - window

-- Takes off the buckets that have left the window, which end before `oldest`; `expired` are their fields.
local function leave_out_expired(rates)
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
  rates.tail, rates.expired = oldest, fields
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
  if tail < oldest then leave_out_expired(rates) end
  return rates
end

-- What the buckets of a kind ('r' or 't') hold, from one second to another.
local function counts_of(rates, kind, first, last)
  local fields = {}
  for bucket = first, last do fields[#fields + 1] = kind .. bucket end
  return redis.call('HMGET', rates.key, unpack(fields))
end

local function last_counting(counts, first)
  for i = #counts, 1, -1 do
    if (tonumber(counts[i]) or 0) > 0 then return first + i - 1 end
  end
end

-- The second of the newest bucket that counts anything; 0 where nothing is counted, -1 where the clock was set back, so
-- that it lies ahead. It is looked for from now back, a few buckets at a time, since mostly it is not far, unless all
-- have been read already (rates.r, rates.t).
local function newest(rates, kind)
  local total, latest = rates.requests, rates.bucket_requests
  if kind == 't' then total, latest = rates.tokens, rates.bucket_tokens end
  if total <= 0 then return 0 end
  if latest > 0 then return second end
  if rates[kind] then return last_counting(rates[kind], rates.tail) or -1 end
  local last = second - 1
  while last >= rates.tail do
    local first = math.max(rates.tail, last - 7)
    local found = last_counting(counts_of(rates, kind, first, last), first)
    if found then return found end
    last = first - 1
  end
  return -1
end

local function held_in(leases)
  return redis.call('ZCOUNT', leases, now + 1, '+inf')
end

