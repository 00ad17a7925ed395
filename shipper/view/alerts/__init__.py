"""Alert rules: one declaration, judged by ``shipper alerts check``, and rendered for Grafana, Kibana and the docs."""
