"""The content of our documents in the form of Metricbeat's: one document per metricset, each with metadata.

Names and values are ours. The difference is how they are distributed over documents, and the metadata that Metricbeat 8
adds to every document (agent.*, ecs.*, event.*, host.*, metricset.*, service.*: 35 leaves here). Fields for which
Metricbeat has no metricset make one further document.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from shipper.deliver.document import nested
from shipper.fields.field import Type
from shipper.schema.datasets import every_field

TEMPLATE = "metrics-likemetricbeat"
STREAM = f"{TEMPLATE}-default"
# Of the modules system and linux, and of docker without info and event
_METRICSETS = {
    "system": frozenset(
        {"cpu", "core", "load", "memory", "network", "diskio", "filesystem", "process", "socket", "uptime", "entropy"}
        | {"users", "raid", "conntrack", "pressure", "ksm", "pageinfo"}
    ),
    "cgroup": frozenset({"cpu", "memory", "io", "network"}),
}
_ENVELOPE = ("@timestamp", "host.name", "host.id", "event.module", "event.dataset", "labels", "agent.version")
_OF_ENTITY = ("cgroup.path", "cgroup.name", "container.", "system.diskio.name", "system.network.name", "process.pid")
_OF_ENTITY_MORE = ("system.filesystem.mount_point", "system.filesystem.device_name", "process.entity_id", "kubernetes.")


def documents(values: Mapping[str, Any]) -> Iterator[bytes]:
    """One line per metricset that would hold these values in Metricbeat."""
    own = {name: value for name, value in values.items() if name.startswith((*_OF_ENTITY, *_OF_ENTITY_MORE))}
    sets: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in own and name not in _ENVELOPE:
            sets.setdefault(_metricset(name), {})[name] = value
    for metricset, fields in sets.items():
        leaves = {**_metadata(values, metricset), **own, **fields}
        yield json.dumps(_filled(nested(leaves), leaves), ensure_ascii=False, separators=(",", ":")).encode()


def _metricset(name: str) -> str:
    """``memory`` of ``cgroup.memory.usage.bytes``."""
    module, _, rest = name.partition(".")
    group = rest.partition(".")[0]
    if module in ("host", "metricset"):
        return "system"
    return group if group in _METRICSETS.get(module, ()) else module


def _filled(tree: Mapping[str, Any], leaves: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _filled(node, leaves) if isinstance(node, dict) else leaves[node] for key, node in tree.items()}


def _metadata(values: Mapping[str, Any], metricset: str) -> dict[str, Any]:
    host = str(values["host.name"])
    ephemeral = hashlib.sha256(host.encode()).hexdigest()
    uuid = f"{ephemeral[:8]}-{ephemeral[8:12]}-{ephemeral[12:16]}-{ephemeral[16:20]}-{ephemeral[20:32]}"
    return {
        "@timestamp": values["@timestamp"],
        "agent.ephemeral_id": uuid,
        "agent.id": uuid[::-1],
        "agent.name": host,
        "agent.type": "metricbeat",
        "agent.version": "8.19.3",
        "ecs.version": "8.0.0",
        "event.dataset": f"system.{metricset}",
        "event.duration": int(ephemeral[:6], 16) + len(metricset) * 1000,
        "event.module": "system",
        "host.architecture": "x86_64",
        "host.containerized": False,
        "host.hostname": host,
        "host.id": values["host.id"],
        "host.ip": ["192.0.2.7", "fe80::42:acff:fe11:2", "172.17.0.1"],
        "host.mac": ["02-42-AC-11-00-02", "02-42-5D-1C-9A-77"],
        "host.name": host,
        "host.os.codename": "bookworm",
        "host.os.family": "debian",
        "host.os.kernel": "6.1.0-28-amd64",
        "host.os.name": "Debian GNU/Linux",
        "host.os.platform": "debian",
        "host.os.type": "linux",
        "host.os.version": "12 (bookworm)",
        "metricset.name": metricset,
        "metricset.period": 10000,
        "service.type": "system",
        "data_stream.dataset": f"system.{metricset}",
        "data_stream.namespace": "default",
        "data_stream.type": "metrics",
        "elastic_agent.id": uuid[::-1],
        "elastic_agent.snapshot": False,
        "elastic_agent.version": "8.19.3",
        "event.agent_id_status": "verified",
        "event.ingested": values["@timestamp"],
        **({"labels": values["labels"]} if "labels" in values else {}),
    }


def template() -> dict[str, Any]:
    """A plain data stream with the codec of Metricbeat's template; our fields with our types, others as keywords."""
    types = {field.name: field.type for _, field in every_field()}
    properties: dict[str, Any] = {}
    for name, type_ in types.items():
        branch = properties
        *parents, leaf = name.split(".")
        for parent in parents:
            branch = branch.setdefault(parent, {}).setdefault("properties", {})
        branch[leaf] = {"type": "keyword" if type_ is Type.IP else type_.value}
    texts = {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 1024}}
    settings = {"index.codec": "best_compression", "index.number_of_shards": 1, "index.number_of_replicas": 0}
    settings["index.mapping.total_fields.limit"] = 10000
    return {
        "index_patterns": [f"{TEMPLATE}-*"],
        "data_stream": {},
        "priority": 500,
        "template": {
            "settings": settings,
            "mappings": {"dynamic_templates": [{"texts": texts}], "properties": properties},
        },
    }
