"""Rules about the shipper itself, and about hosts that send nothing."""

from typing import Final

from shipper.view.alerts.model import Measure, Rule
from shipper.view.dashboards.model import exists
from shipper.view.thresholds import SILENCE_S, STATE, WAITING

_BOARD: Final = "shipper-agents"
_OWN: Final = "own rule: no document may be lost unseen"
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
           "No document of the host has come for minutes. The alert says why, as far as that can be seen: *stopped* (the shipper "
           "was stopped), *cut off* (all hosts with a label are silent), *clock* (its clock differs), or *down* (none of these).",
           "*down*: `systemctl status shipper` on the host, if it can be reached. *cut off*: look at the network of these hosts. *clock*: set the clock.",
           own_steps=SILENCE_S, source="Elastic: 15 min, 12 h back"),
    _agent("shipper-rejected", "Documents rejected", Measure.MAX, "agent.ledger.rejected.count_per_s", 15,
           "Elasticsearch rejected documents. They are kept on the host.",
           "`shipper spool ls` on the host has the reasons. After the repair: `shipper spool replay`.",
           tells="agent.ledger.rejected.reasons"),
    _agent("shipper-dropped", "Documents lost", Measure.MAX, "agent.ledger.dropped.count_per_s", 15,
           "The spool was full, documents were too old, or the disk was damaged.",
           "Look why documents wait (`shipper-backlog`). Raise `spool.max_bytes` if outages last longer than the spool."),
    _agent("shipper-backlog", "Documents wait", Measure.MIN, "agent.ledger.spooled.count", 10,
           "Documents wait on the host because Elasticsearch does not take them as fast as they come.",
           "`shipper status` on the host says why. Look at the health of Elasticsearch: rejections, disk, shards.",
           own_steps=WAITING, tells="agent.delivery.trouble"),
    _told("shipper-disk", "Spool not writable", "agent.spool.trouble",
          "The disk of the spool accepts no documents; the last ticks are held in memory.",
          "Free space on the filesystem of `spool.directory`, or repair it."),
    _told("shipper-resting", "Index accepts no documents", "agent.delivery.resting",
          "An index accepts no documents, as when a disk of the server is full or a shard is missing.",
          "`GET _cluster/allocation/explain`; `GET _cat/indices/metrics-shipper.*?v&health=red`."),
    _agent("shipper-twins", "Two shippers with one name", Measure.GROWTH, "agent.delivery.twins.count", 15,
           "Another shipper sends documents of the same host name and machine id: documents of one of them are lost.",
           "Look for hosts that were cloned: give each its own `/etc/machine-id` and host name.", own_steps=STATE),
    _agent("host-clock-skew", "Clock differs from Elasticsearch", Measure.AVG, "agent.clock.skew.ms", 10,
           "The host's clock and that of Elasticsearch differ: documents appear early or late.",
           "`timedatectl` on the host and on the server. If most hosts differ, the server's clock is wrong.", signed=True),
    _agent("shipper-unreadable", "Files unreadable", Measure.MIN, "agent.problems.count", 10,
           "Files of the kernel exist, but cannot be read or parsed; their fields are absent.",
           "`shipper check` on the host says what is missing.", mild=True, tells="agent.problems.files"),
    _told("shipper-stuck", "Collector stuck", "agent.collectors.stuck",
          "A collector exceeded its deadline and is skipped: its documents are absent.",
          "Look for hung tasks, and for disks or network filesystems that do not respond.", mild=True),
    _told("shipper-failed", "Collector failed", "agent.collectors.failed",
          "A collector failed: its documents are absent.", "The shipper's log has the error. Please report it.", mild=True),
    _told("shipper-findings", "Server set-up differs", "agent.server.findings",
          "Templates, privileges or the clock of the server are not as the shipper needs them.",
          "`shipper check --online`, then `shipper setup`.", mild=True),
    _agent("shipper-ticks-missed", "Ticks missed", Measure.AVG, "agent.tick.missed.count_per_s", 15,
           "Some times have no documents, because a tick took longer than the period.",
           "Look which collector is slow, and whether the host gives the shipper CPU time.", mild=True),
    _agent("shipper-restarts", "Delivery restarted", Measure.MAX, "agent.delivery.restarts.count_per_s", 15,
           "The delivery thread ended and was started again.", "The shipper's log has the error. Please report it.", mild=True),
)  # fmt: skip
