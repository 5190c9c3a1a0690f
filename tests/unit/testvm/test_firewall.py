from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from bootstrap.testvm import firewall
from bootstrap.testvm.firewall import Allowed

NETWORK = IPv4Network("10.206.55.0/24")


def rules(*allowed: Allowed, ports: tuple[int, ...] = ()) -> list[str]:
    text = firewall.render("lab", NETWORK, IPv4Address("10.206.55.1"), allowed, ports)
    return [line.strip() for line in text.splitlines()]


def test_private_ranges_are_rejected_after_the_exceptions() -> None:
    lines = rules(Allowed("10.255.255.53", 53), Allowed("203.0.113.80", 80))
    accept = lines.index('iifname "gpuctl-lab" ip daddr 10.255.255.53 udp dport 53 accept')
    reject = next(i for i, line in enumerate(lines) if "10.0.0.0/8" in line)
    assert accept < reject
    assert lines[reject].endswith("reject")
    assert not any("203.0.113.80" in line for line in lines), "public addresses need no exception"


def test_hosts_meet_each_other_before_any_reject() -> None:
    lines = rules()
    inside = lines.index('iifname "gpuctl-lab" oifname "gpuctl-lab" accept')
    assert all("reject" not in line for line in lines[:inside])


def test_the_table_is_replaced_in_one_transaction() -> None:
    lines = rules()
    assert lines[:4] == ["table inet gpuctl-lab {", "}", "delete table inet gpuctl-lab", "table inet gpuctl-lab {"]


def test_which_addresses_the_general_rule_stops() -> None:
    private = ("10.0.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254")
    assert all(Allowed(address, 53).is_private for address in private)
    assert not any(Allowed(address, 53).is_private for address in ("8.8.8.8", "172.32.0.1", "192.0.2.1"))


def test_of_this_machine_only_what_is_named_is_reached() -> None:
    lines = rules(Allowed("10.255.255.53", 53), Allowed("10.255.255.80", 80), ports=(8443, 8099))
    chain = lines[lines.index("chain input {") + 2 : lines.index("chain postrouting {") - 1]
    assert chain == [
        'iifname "gpuctl-lab" ct state established,related accept',
        'iifname "gpuctl-lab" meta l4proto { icmp, ipv6-icmp } accept',
        'iifname "gpuctl-lab" ip daddr 10.255.255.53 tcp dport 53 accept',
        'iifname "gpuctl-lab" ip daddr 10.255.255.53 udp dport 53 accept',
        'iifname "gpuctl-lab" ip daddr 10.206.55.1 tcp dport @ports accept',
        'iifname "gpuctl-lab" reject',
    ]
    assert "elements = { 8099, 8443 }" in lines
    assert not any(line.startswith("elements") for line in rules()), "an empty list of elements is no syntax of nft"
