"""The dashboards: one description (``model``, ``boards``), drawn by Grafana, Kibana and the report."""
