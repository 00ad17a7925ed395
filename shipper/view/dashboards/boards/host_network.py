"""The closed rows of the host's dashboard about networks, NFS and ZFS."""

from shipper.view.dashboards.model import Row, Split, avg, lines, most, table

_INTERFACES = Split("system.network.name", 8)

INTERFACES = Row(
    "Network per interface",
    (
        lines(
            "Link utilisation",
            "Traffic of the busier direction as a share of the link's speed.",
            "network",
            avg("system.network.util.pct"),
            split=_INTERFACES,
            top=1,
            width=12,
        ),
        lines(
            "Errors per interface",
            "Packets per second with errors; send errors are drawn below zero.",
            "network",
            avg("system.network.in.errors_per_s", "received"),
            avg("system.network.out.errors_per_s", "sent", mirrored=True),
            split=_INTERFACES,
            width=12,
        ),
        lines(
            "Drops per interface",
            "Packets per second that were dropped; sent packets are drawn below zero.",
            "network",
            avg("system.network.in.dropped_per_s", "received"),
            avg("system.network.out.dropped_per_s", "sent", mirrored=True),
            split=_INTERFACES,
            width=24,
        ),
        table(
            "Interfaces",
            "Speed, and mean rates of the errors that point to a faulty cable or driver, or to a full ring buffer.",
            "network",
            Split("system.network.name", 50, most("system.network.util.pct", "utilisation, max")),
            most("system.network.util.pct", "utilisation, max"),
            most("system.network.speed.mbit_per_s", "speed"),
            avg("system.network.in.fifo.count_per_s", "ring full"),
            avg("system.network.in.frame.count_per_s", "frame errors"),
            avg("system.network.out.carrier.count_per_s", "carrier lost"),
            avg("system.network.out.collisions.count_per_s", "collisions"),
            avg("system.network.in.multicast.count_per_s", "multicast"),
            width=24,
        ),
    ),
    collapsed=True,
)

PROTOCOLS = Row(
    "Network protocols",
    (
        lines(
            "TCP sockets by state",
            "Number of sockets.",
            "host",
            avg("system.tcp.established.count", "established"),
            avg("system.tcp.inuse.count", "in use"),
            avg("system.tcp.time_wait.count", "TIME_WAIT"),
            avg("system.tcp.orphans.count", "orphaned"),
        ),
        lines(
            "Socket memory",
            "Memory in the buffers of TCP and UDP.",
            "host",
            avg("system.tcp.memory.bytes", "TCP"),
            avg("system.udp.memory.bytes", "UDP"),
        ),
        lines(
            "TCP segments retransmitted",
            "Retransmitted segments as a share of the segments sent.",
            "host",
            avg("system.tcp.retransmits.pct"),
        ),
        lines(
            "TCP overload",
            "Per second: connections that were dropped because a queue or the memory was full, and SYN cookies that were sent because a queue was full.",
            "host",
            avg("system.tcp.listen.drops.count_per_s", "not accepted"),
            avg("system.tcp.backlog_drops.count_per_s", "backlog full"),
            avg("system.tcp.memory_aborts.count_per_s", "no memory"),
            avg("system.tcp.syncookies_sent.count_per_s", "cookies sent"),
            avg("system.tcp.attempt_fails.count_per_s", "attempts failed"),
        ),
        lines(
            "UDP errors",
            "Datagrams per second that no one received, or that did not fit into a buffer.",
            "host",
            avg("system.udp.no_ports.count_per_s", "no receiver"),
            avg("system.udp.in.errors.count_per_s", "receive errors"),
            avg("system.udp.receive_buffer_errors.count_per_s", "receive buffer full"),
            avg("system.udp.send_buffer_errors.count_per_s", "send buffer full"),
        ),
        lines(
            "UDP datagrams",
            "Datagrams per second; sent ones are drawn below zero.",
            "host",
            avg("system.udp.in.datagrams.count_per_s", "received"),
            avg("system.udp.out.datagrams.count_per_s", "sent", mirrored=True),
        ),
        lines(
            "IP errors",
            "Packets per second.",
            "host",
            avg("system.ip.in.discards.count_per_s", "received, discarded"),
            avg("system.ip.out.discards.count_per_s", "to send, discarded"),
            avg("system.ip.out.no_routes.count_per_s", "no route"),
            avg("system.ip.in.header_errors.count_per_s", "header errors"),
            avg("system.ip.in.address_errors.count_per_s", "address errors"),
            avg("system.ip.reassembly.failures.count_per_s", "not reassembled"),
        ),
        lines(
            "ICMP",
            "Messages per second: destinations that were unreachable, and errors.",
            "host",
            avg("system.icmp.in.unreachable.count_per_s", "unreachable, received"),
            avg("system.icmp.out.unreachable.count_per_s", "unreachable, sent"),
            avg("system.icmp.in.errors.count_per_s", "errors"),
        ),
    ),
    collapsed=True,
)

STORAGE = Row(
    "NFS and ZFS",
    (
        lines(
            "NFS calls",
            "Calls of the NFS client per second, and those that were retransmitted.",
            "host",
            avg("system.nfs.client.calls.count_per_s", "calls"),
            avg("system.nfs.client.retransmits.count_per_s", "retransmitted"),
        ),
        lines(
            "ZFS cache",
            "Size of the cache, its target size, and the limit.",
            "host",
            avg("system.zfs.arc.size.bytes", "size"),
            avg("system.zfs.arc.target.bytes", "target"),
            most("system.zfs.arc.limit.bytes", "limit"),
        ),
        lines(
            "ZFS cache hits",
            "Reads per second that the cache answered (hits), and those that it did not (misses).",
            "host",
            avg("system.zfs.arc.hits.count_per_s", "hits"),
            avg("system.zfs.arc.misses.count_per_s", "misses"),
        ),
    ),
    collapsed=True,
)
