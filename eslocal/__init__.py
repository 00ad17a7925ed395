"""A real Elasticsearch on this machine, without Docker, Java or root: for the demo, the tests and the benchmarks.

with eslocal.cluster(version="9.4.3", security=True) as es:
    es.url, es.ca_file, es.username, es.password
"""

from eslocal.cluster import Cluster, cluster
from eslocal.errors import Error
from eslocal.manifest import DEFAULT_VERSION, VERSIONS
from eslocal.state import named

__all__ = ["DEFAULT_VERSION", "VERSIONS", "Cluster", "Error", "cluster", "named"]
