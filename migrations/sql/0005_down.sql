drop index audit_log_request_id_idx
-- ;;
drop trigger tenants_usage on tenants
-- ;;
drop function usage_forget_r1
-- ;;
drop function usage_close_day_r1
-- ;;
drop table usage_closed
-- ;;
drop table usage_days
