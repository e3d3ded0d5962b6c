-- Writes what the ledger remembers of a tenant that this server does not know, then makes the tenant warm.
-- warm.lua and rates.lua stand before it.
--
-- The mark proves that the server has lost nothing since the ledger was read: a rebuild that comes late, after another
-- one and another loss, would make the tenant warm without what was admitted between them.
--
-- KEYS  1 the tenant's sentinel  2 mark of this rebuild  3 tenant's rates  4 tenant's leases  then each key's rates, leases
-- ARGV  1 window in s  2 lease in us  3 tenant's version  4 number of buckets
--       then of each bucket: place of its key from 1, second, requests, tokens
--       then of each open request: place of its key, id  then the run id
-- Reply 1 the tenant is warm, by this rebuild or by another, 0 what this one read may be out of date
local lease, version, buckets, run_id = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[#ARGV]
local AT_ONCE = 1000 -- the stack of Lua holds 8000

if told_at(KEYS[1], run_id) then return 1 end
if redis.call('GET', KEYS[2]) ~= run_id then return 0 end

-- What a snapshot brought back is not what was.
for place = 3, #KEYS do redis.call('DEL', KEYS[place]) end

local function add(rates, bucket, requests, tokens)
  rates.requests, rates.tokens = rates.requests + requests, rates.tokens + tokens
  for field, count in pairs({ ['r' .. bucket] = requests, ['t' .. bucket] = tokens }) do
    rates.fields[field] = (rates.fields[field] or 0) + count
  end
end

local function write(rates)
  local batch = { 'requests', rates.requests, 'tokens', rates.tokens, 'tail', oldest }
  for field, count in pairs(rates.fields) do
    if #batch >= AT_ONCE then
      redis.call('HSET', rates.key, unpack(batch))
      batch = {}
    end
    batch[#batch + 1] = field
    batch[#batch + 1] = count
  end
  redis.call('HSET', rates.key, unpack(batch))
  redis.call('EXPIRE', rates.key, 2 * window + 10)
end

local scopes = {} -- the tenant's at 0, then those of the keys
for place = 0, (#KEYS - 4) / 2 do
  scopes[place] = { key = KEYS[3 + 2 * place], leases = KEYS[4 + 2 * place], requests = 0, tokens = 0, fields = {} }
end

for i = 5, 4 * buckets + 1, 4 do
  -- A second that this server's clock has not reached yet counts as this one, lest it counts for too long.
  local bucket = math.min(tonumber(ARGV[i + 1]), second)
  if bucket >= oldest then
    local requests, tokens = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
    add(scopes[0], bucket, requests, tokens)
    add(scopes[tonumber(ARGV[i])], bucket, requests, tokens)
  end
end
for place = 0, #scopes do
  if scopes[place].requests > 0 then write(scopes[place]) end
end

for i = 5 + 4 * buckets, #ARGV - 1, 2 do
  for _, place in ipairs({ 0, tonumber(ARGV[i]) }) do
    redis.call('ZADD', scopes[place].leases, now + lease, ARGV[i + 1])
  end
end
for place = 0, #scopes do
  redis.call('PEXPIRE', scopes[place].leases, math.ceil(lease / 1000) + 1000)
end

redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], run_id .. ':' .. version, 'EX', 86400)
return 1
