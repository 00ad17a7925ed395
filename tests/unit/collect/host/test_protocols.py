import os
from pathlib import Path

from trees import Host, Tree

from shipper.collect.host import protocols

PAGE = os.sysconf("SC_PAGE_SIZE")
NET = "proc/1/net"
SOCKSTAT = """\
sockets: used 24
TCP: inuse 10 orphan 2 tw 81 alloc 15 mem 194
UDP: inuse 6 mem 7
UDPLITE: inuse 0
RAW: inuse 0
FRAG: inuse 0 memory 0
"""
SOCKSTAT6 = "TCP6: inuse 4\nUDP6: inuse 3\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"
SNMP = """\
Ip: Forwarding DefaultTTL InReceives
Ip: 2 64 58812
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 855 290 353 1 2 58384 34621 3 4 759 0
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors
Udp: 427 11 12 428 13 14 0
"""  # noqa: E501
NETSTAT = """\
TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPLostRetransmit TCPFastRetrans TCPTimeouts TCPBacklogDrop TCPAbortOnMemory
TcpExt: 1 2 3 4 5 6 7 8
IpExt: InNoRoutes InTruncatedPkts
IpExt: 0 0
"""  # noqa: E501
SNMP6 = "Ip6InReceives\t21\nIp6OutForwDatagrams\t22\nIcmp6InMsgs\t23\nUdp6InDatagrams\t24\nUdpLite6InErrors\t25\n"
ALL = {
    f"{NET}/sockstat": SOCKSTAT,
    f"{NET}/sockstat6": SOCKSTAT6,
    f"{NET}/snmp": SNMP,
    f"{NET}/snmp6": SNMP6,
    f"{NET}/netstat": NETSTAT,
}


def host(tmp_path: Path, files: dict[str, str]) -> Host:
    return Host(Tree(tmp_path, files), protocols.COLLECTOR)


def test_every_field_has_its_own_value(tmp_path: Path) -> None:
    values = host(tmp_path, ALL).host()
    assert values == {
        "system.socket.used.count": 24,
        "system.ip.in.receives.count": 58812,
        "system.ip6.in.receives.count": 21,
        "system.ip6.forwarded.count": 22,
        "system.icmp6.in.messages.count": 23,
        "system.udp6.in.datagrams.count": 24,
        "system.tcp.inuse.count": 14,
        "system.tcp.orphans.count": 2,
        "system.tcp.time_wait.count": 81,
        "system.tcp.allocated.count": 15,
        "system.tcp.memory.bytes": 194 * PAGE,
        "system.udp.inuse.count": 9,
        "system.udp.memory.bytes": 7 * PAGE,
        "system.tcp.opens.active.count": 855,
        "system.tcp.opens.passive.count": 290,
        "system.tcp.attempt_fails.count": 353,
        "system.tcp.established_resets.count": 1,
        "system.tcp.established.count": 2,
        "system.tcp.in.segments.count": 58384,
        "system.tcp.out.segments.count": 34621,
        "system.tcp.retransmits.count": 3,
        "system.tcp.in.errors.count": 4,
        "system.tcp.out.resets.count": 759,
        "system.udp.in.datagrams.count": 427,
        "system.udp.no_ports.count": 11,
        "system.udp.in.errors.count": 12,
        "system.udp.out.datagrams.count": 428,
        "system.udp.receive_buffer_errors.count": 13,
        "system.udp.send_buffer_errors.count": 14,
        "system.tcp.syncookies_sent.count": 1,
        "system.tcp.listen.overflows.count": 2,
        "system.tcp.listen.drops.count": 3,
        "system.tcp.lost_retransmits.count": 4,
        "system.tcp.fast_retransmits.count": 5,
        "system.tcp.timeouts.count": 6,
        "system.tcp.backlog_drops.count": 7,
        "system.tcp.memory_aborts.count": 8,
    }


def test_host_without_ipv6(tmp_path: Path) -> None:
    probe = host(tmp_path, {name: text for name, text in ALL.items() if not name.endswith("6")})
    values = probe.host()
    assert (values["system.tcp.inuse.count"], values["system.udp.inuse.count"]) == (10, 6)
    assert not probe.problems


def test_half_of_a_sum_is_no_sum(tmp_path: Path) -> None:
    probe = host(tmp_path, {**ALL, f"{NET}/sockstat6": "TCP6: inuse x\nUDP6: inuse 3\n"})
    values = probe.host()
    assert "system.tcp.inuse.count" not in values
    assert values["system.udp.inuse.count"] == 9
    assert list(probe.problems) == [f"{NET}/sockstat6"]


def test_own_namespace_is_read_only_where_there_is_no_pid_1(tmp_path: Path) -> None:
    own = {"proc/net/sockstat": SOCKSTAT.replace("used 24", "used 99")}
    assert host(tmp_path / "without", own).host()["system.socket.used.count"] == 99
    assert host(tmp_path / "with", {**own, "proc/1/stat": ""}).host() == {}


def test_lines_that_do_not_belong_together_spoil_only_their_protocol(tmp_path: Path) -> None:
    probe = host(tmp_path, {f"{NET}/snmp": SNMP.replace("Udp: 427 11", "Udp: 427")})
    values = probe.host()
    assert values["system.tcp.retransmits.count"] == 3
    assert "system.udp.in.datagrams.count" not in values
    assert list(probe.problems) == [f"{NET}/snmp"]


def test_share_of_retransmitted_segments() -> None:
    rates = {"system.tcp.retransmits.count_per_s": 4.0, "system.tcp.out.segments.count_per_s": 80.0}
    assert protocols.derive(rates, {}) == {"system.tcp.retransmits.pct": 0.05}
    assert protocols.derive({**rates, "system.tcp.out.segments.count_per_s": 9.0}, {}) == {}
    assert protocols.derive({**rates, "system.tcp.retransmits.count_per_s": 100.0}, {})[protocols._AGAIN] == 1.0
    assert protocols.derive({}, {}) == {}
