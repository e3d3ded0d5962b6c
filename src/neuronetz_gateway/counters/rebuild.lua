-- Writes what the ledger remembers of a tenant that this server does not know, then makes the tenant warm.
-- warm.lua and rates.lua stand before it.
--
-- The mark proves that the server has lost nothing since the rebuild began: one that comes late, after another rebuild
-- and another loss, would make the tenant warm without what was admitted between them.
--
-- KEYS  1 the tenant's sentinel  2 mark of the rebuild  3 tenant's rates  4 tenant's leases
--       then each key's rates, leases  then of each open request the mark that it has ended
-- ARGV  1 window in s  2 lease in us  3 id of the rebuild  4 tenant's version  5 number of keys  6 number of buckets
--       then of each bucket: place of its key from 1, second, requests, tokens
--       then of each open request: place of its key, second, id, tokens  then the run id
-- Reply 1 the tenant is warm, 0 what was read may be out of date: nothing is written
local lease, version, keys, buckets = tonumber(ARGV[2]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local run_id = ARGV[#ARGV]
local AT_ONCE = 1000 -- the stack of Lua holds 8000
local FIRST, FIRST_OPEN = 7, 7 + 4 * buckets

if told_at(KEYS[1], run_id) then return 1 end
if told_at(KEYS[2], run_id) ~= ARGV[3] then return 0 end

-- Pairs for one key, in commands of as many as Lua can pass on.
local function pairs_for(command, key)
  local batch = {}
  local function flush()
    if #batch > 0 then redis.call(command, key, unpack(batch)) end
    batch = {}
  end
  local function add(one, other)
    batch[#batch + 1], batch[#batch + 2] = one, other
    if #batch >= AT_ONCE then flush() end
  end
  return { add = add, flush = flush }
end

-- The tenant's scope at 0, then those of its keys. What a snapshot brought back of them is not what was.
local scopes = {}
for place = 0, keys do
  local rates, leases = KEYS[3 + 2 * place], KEYS[4 + 2 * place]
  redis.call('DEL', rates, leases)
  local held = pairs_for('ZADD', leases)
  scopes[place] = { rates = rates, leases = leases, held = held, requests = 0, tokens = 0, fields = {} }
end

local function count(scope, bucket, requests, tokens)
  local fields, requests_field, tokens_field = scope.fields, 'r' .. bucket, 't' .. bucket
  scope.requests, scope.tokens = scope.requests + requests, scope.tokens + tokens
  fields[requests_field] = (fields[requests_field] or 0) + requests
  fields[tokens_field] = (fields[tokens_field] or 0) + tokens
end

local function add(place, bucket, requests, tokens)
  -- A second that this server's clock has not reached yet counts as this one, lest it counts for too long.
  bucket = math.min(bucket, second)
  if bucket < oldest then return end
  count(scopes[0], bucket, requests, tokens)
  count(scopes[place], bucket, requests, tokens)
end

-- By the position of an open request: its actual tokens where it has ended since the ledger was read, -1 if undone.
local ended = {}
for first = 5 + 2 * keys, #KEYS, AT_ONCE do
  local marks = redis.call('MGET', unpack(KEYS, first, math.min(first + AT_ONCE - 1, #KEYS)))
  for i = 1, #marks do ended[#ended + 1] = tonumber(marks[i]) or false end
end

for i = FIRST, FIRST_OPEN - 1, 4 do
  add(tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]))
end
for position = 1, #ended do
  local i, actual = FIRST_OPEN + 4 * (position - 1), ended[position]
  local place, bucket, id, tokens = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), ARGV[i + 2], tonumber(ARGV[i + 3])
  if not actual then
    scopes[0].held.add(now + lease, id)
    scopes[place].held.add(now + lease, id)
  end
  if actual ~= -1 then add(place, bucket, 1, actual or tokens) end
end

for place = 0, keys do
  local scope = scopes[place]
  scope.held.flush()
  redis.call('PEXPIRE', scope.leases, math.ceil(lease / 1000) + 1000)
  if scope.requests > 0 then
    local fields = pairs_for('HSET', scope.rates)
    for field, counted in pairs(scope.fields) do fields.add(field, counted) end
    fields.flush()
    redis.call('HSET', scope.rates, 'requests', scope.requests, 'tokens', scope.tokens, 'tail', oldest)
    redis.call('EXPIRE', scope.rates, 2 * window + 10)
  end
end

redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], run_id .. ':' .. version, 'EX', 86400)
return 1
