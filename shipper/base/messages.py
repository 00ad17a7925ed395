"""What the agent logs: each message with a code that never changes, its priority, and what an operator does about it.

``text`` has places in braces. A code is never given to another message; docs/reference/messages.md shows all of them.
"""

from typing import Final, NamedTuple

ERROR: Final = 3  # as syslog(3) and sd-daemon(3) number them
WARNING: Final = 4
INFO: Final = 6


class Message(NamedTuple):
    """One kind of line in the log."""

    code: str
    priority: int
    text: str
    remedy: str


# The agent
STARTED: Final = Message("S101", INFO, "{purpose}", "Nothing: the agent has started.")
STOPPED: Final = Message(
    "S102", INFO, "stopped; {count} documents remain in the spool", "Nothing: the next start sends them."
)
RELOADING: Final = Message("S103", INFO, "the configuration is valid; restarting with it", "Nothing.")
NOT_RELOADED: Final = Message(
    "S104",
    ERROR,
    "reload failed; keeping the previous configuration: {fault}",
    "Correct the configuration and reload again; `shipper check` shows all mistakes.",
)
TICK_FAILED: Final = Message(
    "S105", ERROR, "the tick failed: {error}", "This is a defect: its documents are missing. Report it with the line."
)
COLLECTOR_FAILED: Final = Message(
    "S106",
    ERROR,
    "collector {name} failed: {error}",
    "Its fields are missing, all others are there. `shipper check` calls it once; report an error that is not about permissions.",
)
COLLECTOR_SLOW: Final = Message(
    "S107",
    WARNING,
    "collector {name} exceeded its deadline of {deadline} s; skipped",
    "A kernel file or a mount hangs, or the host is overloaded. Raise collect.deadline only if this is usual.",
)
NOT_READ: Final = Message(
    "S108",
    WARNING,
    "{text}; their fields are missing",
    "The text names files and cause, usually a missing capability: `shipper doctor`.",
)
CLOCK_JUMPED: Final = Message(
    "S109",
    WARNING,
    "the clock jumped {way} by {seconds} s",
    "Find out what set the clock. No time is used twice; documents of the time between are missing or ahead.",
)
WATCHDOG_SHORT: Final = Message(
    "S110",
    WARNING,
    "WatchdogSec={watchdog} is shorter than two periods; systemd will kill this process",
    "Raise WatchdogSec in a drop-in, or shorten collect.period.",
)
LINES_DROPPED: Final = Message(
    "S111",
    WARNING,
    "{count} lines of this log could not be written",
    "The log's disk was full, or its reader did not read.",
)

# The spool
LOST_AT_STOP: Final = Message(
    "S201",
    ERROR,
    "spool: {count} documents held in memory are lost: {why}",
    "The disk accepted nothing until the stop. Free space, or move spool.directory.",
)
LEFT_BEHIND: Final = Message(
    "S202",
    WARNING,
    "{count} documents remain in {directory}, which is no longer the spool; to send them, set spool.directory back",
    "Set spool.directory back, reload, wait until the spool is empty, then move it.",
)
DROPPED: Final = Message(
    "S203",
    ERROR,
    "spool: {count} documents are lost: {why}",
    "Reach the server again, or raise spool.max_bytes or spool.max_age.",
)
REPLAY: Final = Message(
    "S204", WARNING, "{problem}", "`shipper spool replay` or `discard` could not select what was asked for: repeat it."
)
FUTURE_TICK: Final = Message(
    "S205",
    WARNING,
    "ignoring the newest tick in the spool: it is in the far future",
    "Nothing: the clock was wrong once.",
)
DAMAGED: Final = Message(
    "S206",
    ERROR,
    "spool: {name}: {why}; moved to damaged/",
    "Look at the disk's health. The file is in damaged/; its documents count as dropped.",
)
LEDGER_UNUSABLE: Final = Message(
    "S207",
    ERROR,
    "spool: the ledger cannot be used: {why}; counting starts now, earlier counts are unknown",
    "Look at the disk's health.",
)
UNREADABLE: Final = Message(
    "S208",
    ERROR,
    "spool: cannot read {count} files, such as {name}: {why}; retrying",
    "Restore owner and mode of the spool's files, or the file system.",
)
RECOVERED: Final = Message(
    "S209",
    ERROR,
    "spool: {count} documents of earlier runs are lost",
    "Their files were removed or emptied while the agent was down.",
)
DISK_REFUSES: Final = Message(
    "S210",
    ERROR,
    "spool: {trouble}; documents are held in memory",
    "Free space on the disk of the spool. Delivery goes on meanwhile.",
)
DISK_ACCEPTS: Final = Message("S211", INFO, "spool: the disk accepts documents again", "Nothing.")
ELSEWHERE: Final = Message(
    "S212",
    WARNING,
    "spool: {directory} is a different directory now; restart to use it",
    "Something was mounted over the directory or replaced it: restart the agent.",
)
SEGMENT_LOST: Final = Message(
    "S213",
    ERROR,
    "spool: lost {count} documents of segment {sequence}: {why}",
    "Look at the disk's health; damaged/ has the file if it exists.",
)
SEGMENT_KEPT: Final = Message(
    "S214",
    ERROR,
    "spool: segments cannot be {what}: {error}; keeping them and retrying",
    "Make the file system of the spool readable and writable again.",
)
REJECTED_NOT_KEPT: Final = Message(
    "S215",
    ERROR,
    "spool: cannot keep rejected documents: {error}",
    "Free space on the disk of the spool: the documents wait until then.",
)

# Delivery
UNAVAILABLE: Final = Message(
    "S301",
    WARNING,
    "{error}; documents stay in the spool",
    "Elasticsearch does not answer, or rejects the request as a whole: `shipper doctor`.",
)
NEXT_SERVER: Final = Message(
    "S302", WARNING, "{error}; trying the next server", "One of elasticsearch.hosts does not answer."
)
REACHABLE: Final = Message("S303", INFO, "Elasticsearch is reachable again; {count} documents wait", "Nothing.")
REJECTED: Final = Message(
    "S304",
    ERROR,
    "Elasticsearch rejected a document for {index}; kept in the spool: {reason}",
    "`shipper spool ls` groups them by reason. After the cause is gone: `shipper spool replay`.",
)
RESTING: Final = Message(
    "S305",
    WARNING,
    "Elasticsearch rejects all documents for {index}: {reason}; other indices are not affected",
    "The reason is the server's: a missing shard, a block, a closed index. The documents wait.",
)
OPEN_AGAIN: Final = Message("S306", INFO, "Elasticsearch accepts documents for {index} again", "Nothing.")
DEFERRED: Final = Message(
    "S307",
    WARNING,
    "Elasticsearch deferred documents for {index}: {reason}; retrying",
    "The server is overloaded if this persists.",
)
TOO_LARGE: Final = Message(
    "S308",
    WARNING,
    "Elasticsearch rejected a request of {size} bytes (413); retrying with {now} bytes",
    "Raise the limit of the server (http.max_content_length) or of the proxy, or lower bulk.max_bytes.",
)
SKEW: Final = Message(
    "S309",
    WARNING,
    "this host's clock is {seconds} s {way} the server's",
    "Synchronise the clock: timedatectl set-ntp true.",
)
TWIN: Final = Message(
    "S310",
    ERROR,
    "another shipper uses this host's name and id, and stored its documents first; this host's documents are kept as rejected, and its ticks shift by {ms} ms so that no more are lost; give each host its own name and /etc/machine-id: {action}",
    "Give the cloned host its own name and machine-id (systemd-machine-id-setup).",
)
DELIVERY_FAILED: Final = Message(
    "S311", ERROR, "delivery failed; retrying: {error}", "This is a defect; nothing is lost. Report it with the line."
)
DELIVERY_RESTARTED: Final = Message(
    "S312",
    ERROR,
    "the delivery thread had stopped; restarted it",
    "This is a defect; nothing is lost. Report it with the lines before.",
)
DELIVERY_STALLED: Final = Message(
    "S313",
    ERROR,
    "delivery does not work: {why}",
    "A disk or a server hangs, or the unit's limit of tasks is too low; systemd restarts the agent if it has a watchdog.",
)
SERVER_FINDING: Final = Message(
    "S314", ERROR, "server: {text}", "As the text says; `shipper check --online` checks again."
)

ALL: Final = tuple(value for value in tuple(globals().values()) if isinstance(value, Message))
