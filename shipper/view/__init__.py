"""What people look at: live tables, the report, the source of the dashboards. It needs the extra ``view``."""
