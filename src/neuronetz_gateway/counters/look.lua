-- Tells what the windows and leases of a tenant and its key hold; writes nothing.
-- warm.lua and rates.lua stand before it, as before admit.lua: both read the same way.
--
-- KEYS  1 tenant's rates  2 key's rates  3 tenant's leases  4 key's leases  5 the tenant's sentinel
-- ARGV  1 window in s  2 run id
-- Reply {us, of the tenant: requests, newest second with requests, tokens, newest second with tokens, held, the key's}
--       {'cold'}
if not told_at(KEYS[5], ARGV[2]) then return { 'cold' } end
local reply = { now }
for scope = 1, 2 do
  local rates = rates_of(KEYS[scope])
  local held = held_in(KEYS[scope + 2])
  for _, figure in ipairs({ rates.requests, newest(rates, 'r'), rates.tokens, newest(rates, 't'), held }) do
    reply[#reply + 1] = figure
  end
end
return reply
