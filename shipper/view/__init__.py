"""What people look at: the live tables, the report, the dashboards' source. Needs the extra `view`."""
