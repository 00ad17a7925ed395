"""How the shipper gets onto hosts: units, their templates."""
