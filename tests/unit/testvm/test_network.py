from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import GpuctlError
from bootstrap.testvm.network import (
    CLUSTER_RANGES,
    POOLS,
    Subnet,
    choose_subnet,
    networks_in_use,
    parse_resolvers,
    resolvers,
)

LAB_NAMES = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
NETWORKS = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(12, 32),
)


@given(LAB_NAMES, st.lists(NETWORKS, max_size=20))
def test_a_chosen_subnet_meets_nothing(name: str, taken: list[IPv4Network]) -> None:
    chosen = choose_subnet(name, taken)
    assert chosen.prefixlen == 24
    assert not any(chosen.overlaps(other) for other in [*taken, *CLUSTER_RANGES])
    assert any(chosen.subnet_of(pool) for pool in POOLS)
    assert choose_subnet(name, taken) == chosen
    # The next lab of that name, and any other, finds another place.
    assert not choose_subnet(name, [*taken, chosen]).overlaps(chosen)


def test_later_pools_serve_where_a_vpn_takes_all_of_ten() -> None:
    assert choose_subnet("lab", [IPv4Network("10.0.0.0/8")]).subnet_of(POOLS[1])
    with pytest.raises(GpuctlError) as refused:
        choose_subnet("lab", [IPv4Network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")])
    assert refused.value.problems[0].code == "subnet-none"
    assert refused.value.problems[0].fix


def test_routes_of_every_kind_count_but_default_ones() -> None:
    routes = [
        {"dst": "default", "gateway": "192.0.2.1"},
        {"dst": "0.0.0.0/1"},
        {"dst": "128.0.0.0/1"},
        {"dst": "10.1.0.0/16", "dev": "eth0"},
        {"type": "local", "dst": "192.0.2.2", "dev": "eth0"},
        {"type": "blackhole", "dst": "10.9.9.0/24"},
        {},
        {"dst": "fd00::/64"},
    ]
    found = networks_in_use(routes, ["10.255.255.53"])
    assert [str(network) for network in found] == ["10.1.0.0/16", "192.0.2.2/32", "10.9.9.0/24", "10.255.255.53/32"]


def test_addresses_of_a_subnet_do_not_collide() -> None:
    subnet = Subnet(IPv4Network("10.206.55.0/24"))
    hosts = [subnet.host(index) for index in range(100)]
    assert str(subnet.gateway) == "10.206.55.1"
    assert len({subnet.gateway, *hosts}) == 101
    assert all(host in subnet.network for host in hosts)
    assert subnet.network.broadcast_address not in hosts


def test_resolvers_are_those_that_a_host_can_reach(tmp_path: Path) -> None:
    text = "nameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver 10.0.0.2 # x\nnameserver\n"
    assert parse_resolvers(text) == ("10.0.0.2",)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    assert resolvers(tmp_path) == ()
    (tmp_path / "run/systemd/resolve").mkdir(parents=True)
    (tmp_path / "run/systemd/resolve/resolv.conf").write_text("nameserver 192.0.2.53\nnameserver 192.0.2.53\n")
    assert resolvers(tmp_path) == ("192.0.2.53",)


@given(st.text())
def test_any_resolv_conf_is_read(text: str) -> None:
    for address in parse_resolvers(text):
        assert not IPv4Network(address).is_loopback
