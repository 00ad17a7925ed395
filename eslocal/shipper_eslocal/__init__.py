"""A real Elasticsearch on this machine, without Docker, Java or root, for demo, tests and benchmarks.

with shipper_eslocal.cluster(version="9.4.3", security=True) as es:
    es.url, es.ca_file, es.username, es.password
"""

from shipper_eslocal.cluster import Cluster, cluster
from shipper_eslocal.errors import Error
from shipper_eslocal.manifest import DEFAULT_VERSION, VERSIONS
from shipper_eslocal.state import named

__all__ = ["DEFAULT_VERSION", "VERSIONS", "Cluster", "Error", "cluster", "named"]
