drop index audit_log_status_idx
-- ;;
drop index audit_log_outcome_idx
