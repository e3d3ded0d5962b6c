drop function refuse_r1
-- ;;
drop type refusal_r1
-- ;;
drop function settle_r1
-- ;;
drop type settlement_r1
-- ;;
drop function reserve_r1
-- ;;
drop type reservation_request_r1
-- ;;
drop function budget_windows_r1
-- ;;
drop function audit_log_ensure_partitions
-- ;;
drop table audit_log
-- ;;
drop table processes, revocations, reservations, budget_usage, budgets, key_limits, api_keys, tenants
-- ;;
drop function key_limits_version_r1, api_keys_version_r1, tenants_version_r1
