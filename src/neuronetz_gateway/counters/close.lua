-- Ends one admission: frees its places, corrects the tokens of the second it was admitted in, or undoes it altogether.
-- The lease is the record that it is still open, so a repeated call changes nothing. Where a tenant is cold the end is
-- noted for the rebuild, which may have read in the ledger that this request is open. warm.lua stands before it.
--
-- KEYS  1 tenant's rates  2 key's rates  3 tenant's leases  4 key's leases  5 mark of an ended id  6 tenant's sentinel
-- ARGV  1 id  2 second of admission, 0 unknown  3 estimated tokens  4 actual tokens, -1 undoes  5 lease in us  6 run id
-- Reply 1 closed, 0 there was nothing to close
local id, second, estimate, actual = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lease = tonumber(ARGV[5])

local cold = not told_at(KEYS[6], ARGV[6])
local held_until = not cold and redis.call('ZSCORE', KEYS[3], id)
if not held_until then
  -- An admission whose answer was lost may still be on its way here: the mark refuses it when it arrives.
  if cold or actual < 0 then redis.call('SET', KEYS[5], actual, 'PX', math.ceil(lease / 1000)) end
  return 0
end
redis.call('ZREM', KEYS[3], id)
redis.call('ZREM', KEYS[4], id)
-- Unknown only where the answer was lost: nobody has moved the lease since.
if second == 0 then second = math.floor((tonumber(held_until) - lease) / 1000000) end

local function correct(rates)
  local requests_field, tokens_field = 'r' .. second, 't' .. second
  local found = redis.call('HMGET', rates, 'requests', 'tokens', requests_field, tokens_field)
  if not found[3] then return end -- it has left the window
  local requests, tokens = tonumber(found[3]), tonumber(found[4])
  local new_requests = requests
  if actual < 0 then new_requests = math.max(0, requests - 1) end
  local new_tokens = math.max(0, tokens - estimate + math.max(0, actual))
  redis.call('HSET', rates,
    'requests', tonumber(found[1]) + new_requests - requests, 'tokens', tonumber(found[2]) + new_tokens - tokens,
    requests_field, new_requests, tokens_field, new_tokens)
  if new_requests == 0 and new_tokens == 0 then redis.call('HDEL', rates, requests_field, tokens_field) end
end

correct(KEYS[1])
correct(KEYS[2])
return 1
