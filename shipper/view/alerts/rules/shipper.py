"""Rules about the shipper itself, and about hosts that send nothing."""

from typing import Final

from shipper.view.alerts.model import Measure, Rule
from shipper.view.dashboards.model import exists
from shipper.view.thresholds import SILENCE_S, STATE, WAITING

_BOARD: Final = "shipper-agents"
_OWN: Final = "own rule: no document may be lost unnoticed"
_LOOK_BACK_MIN: Final = 12 * 60


def _agent(
    name: str, title: str, measure: Measure, field: str, minutes: int, means: str, first: str, **more: object
) -> Rule:
    more = {"source": _OWN, **more}
    return Rule(name, title, "agent", measure, field, minutes * 60, means, first, _BOARD, **more)  # type: ignore[arg-type]


def _told(name: str, title: str, field: str, means: str, first: str, **more: object) -> Rule:
    """While ``field`` has a value in the newest document."""
    told = (exists(field),)
    more = {"where": told, "last": told, "own_steps": STATE, "tells": field, **more}
    return _agent(name, title, Measure.COUNT, "", 5, means, first, **more)


RULES: Final = (
    _agent("host-silent", "Host silent", Measure.SILENCE, "", _LOOK_BACK_MIN,
           "No document of the host has arrived for minutes. The alert says why, as far as the documents show: *stopped* (the shipper "
           "was stopped), *cut off* (all hosts, or all hosts with the same label, are silent), *clock* (the host's clock differs), or *down* (none of these).",
           "*down*: `systemctl status shipper` on the host, if it can be reached. *cut off*: check the network of these hosts. *clock*: set the clock.",
           own_steps=SILENCE_S, source="Elastic: 15 min, 12 h back"),
    _agent("shipper-rejected", "Documents rejected", Measure.MAX, "agent.ledger.rejected.count_per_s", 15,
           "Elasticsearch rejected documents, which are kept on the host.",
           "`shipper spool ls` on the host lists the reasons. After the repair, run `shipper spool replay`.",
           tells="agent.ledger.rejected.reasons"),
    _agent("shipper-dropped", "Documents lost", Measure.MAX, "agent.ledger.dropped.count_per_s", 15,
           "Documents were lost, because the spool was full, the documents were too old, or the disk was damaged.",
           "Find out why documents wait (`shipper-backlog`). Raise `spool.max_bytes` if outages last longer than the spool."),
    _agent("shipper-backlog", "Documents waiting", Measure.MIN, "agent.ledger.spooled.count", 10,
           "Documents wait on the host because Elasticsearch does not accept them as fast as the shipper collects them.",
           "`shipper status` on the host says why. Check the health of Elasticsearch: rejections, disk, shards.",
           own_steps=WAITING, tells="agent.delivery.trouble"),
    _told("shipper-disk", "Spool not writable", "agent.spool.trouble",
          "The disk of the spool accepts no documents; the last ticks are held in memory.",
          "Free space on the filesystem of `spool.directory`, or repair the filesystem."),
    _told("shipper-resting", "Index accepts no documents", "agent.delivery.resting",
          "An index accepts no documents. Frequent causes are a full disk of the server and a missing shard.",
          "Read `GET _cluster/allocation/explain` and `GET _cat/indices/metrics-shipper.*?v&health=red`."),
    _agent("shipper-twins", "Two shippers with one name", Measure.GROWTH, "agent.delivery.twins.count", 15,
           "Another shipper sends documents with the same host name and machine id, so that documents of one of them are lost.",
           "Look for cloned hosts, and give each of them its own `/etc/machine-id` and host name.", own_steps=STATE),
    _agent("host-clock-skew", "Clock differs from Elasticsearch", Measure.AVG, "agent.clock.skew.ms", 10,
           "The clocks of the host and of Elasticsearch differ, so that documents appear early or late.",
           "Run `timedatectl` on the host and on the server. If most hosts differ, the server's clock is wrong.", signed=True),
    _agent("shipper-unreadable", "Files unreadable", Measure.MIN, "agent.problems.count", 10,
           "Files of the kernel exist, but cannot be read or parsed. The fields from these files are absent.",
           "`shipper check` on the host lists what is missing.", mild=True, tells="agent.problems.files"),
    _told("shipper-stuck", "Collector stuck", "agent.collectors.stuck",
          "A collector exceeded its deadline and is skipped, so that its documents are absent.",
          "Look for hung tasks, and for disks or network filesystems that do not respond.", mild=True),
    _told("shipper-failed", "Collector failed", "agent.collectors.failed",
          "A collector failed, so that its documents are absent.", "Please report the error that the shipper's log shows.", mild=True),
    _told("shipper-findings", "Server set-up differs", "agent.server.findings",
          "Templates, privileges or the clock of the server differ from what the shipper needs.",
          "Run `shipper check --online`, then `shipper setup`.", mild=True),
    _agent("shipper-ticks-missed", "Ticks missed", Measure.AVG, "agent.tick.missed.count_per_s", 15,
           "Some ticks have no documents, because an earlier tick took longer than the period.",
           "Find out which collector is slow, and whether the shipper gets enough CPU time.", mild=True),
    _agent("shipper-restarts", "Delivery restarted", Measure.MAX, "agent.delivery.restarts.count_per_s", 15,
           "The delivery thread ended and was restarted.", "Please report the error that the shipper's log shows.", mild=True),
)  # fmt: skip
