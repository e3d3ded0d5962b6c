-- Whether this server knows a tenant; stands before each script that has to know.
--
-- A sentinel holds the run id of the server that was told of the tenant, a colon, the tenant's version at that time.
-- Missing, or another server's: this one was flushed, restarted, put back to a snapshot, or has just taken over.

-- The tenant's version, nil where it is cold.
local function told_at(sentinel, run_id)
  local value = redis.call('GET', sentinel)
  if not value or string.sub(value, 1, #run_id + 1) ~= run_id .. ':' then return nil end
  return string.sub(value, #run_id + 2)
end

