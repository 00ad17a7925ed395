"""The rendered dashboards, as data of the distribution. Their source is shipper/view/dashboards."""
