"""The TOML that containerd prints, against the standard library's reader."""

from __future__ import annotations

import tomllib

import pytest

from bootstrap.hostside.gpuctl_toml import lookup, parse

DUMP = """version = 4
root = '/var/lib/containerd'
imports = ['/etc/containerd/conf.d/*.toml']
required_plugins = []
oom_score = 0

[plugins]
  [plugins.'io.containerd.cri.v1.images']
    discard_unpacked_layers = false
    stats_collect_period = '1m0s'
    [plugins.'io.containerd.cri.v1.images'.pinned_images]
      sandbox = 'registry.k8s.io/pause:3.10.2'

  [plugins.'io.containerd.cri.v1.runtime']
    cdi_spec_dirs = [
      '/etc/cdi',
      '/var/run/cdi',
    ]
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        SystemdCgroup = true
        BinaryName = ''

[timeouts]
  'io.containerd.timeout.bolt.open' = '0s'
"""


def test_it_reads_what_the_standard_reader_reads() -> None:
    assert parse(DUMP) == tomllib.loads(DUMP)


def test_lookup() -> None:
    runtimes = ["plugins", "io.containerd.cri.v1.runtime", "containerd", "runtimes"]
    assert lookup(parse(DUMP), [*runtimes, "runc", "options", "SystemdCgroup"]) is True
    assert lookup(parse(DUMP), [*runtimes, "nvidia", "options"]) is None
    assert lookup(parse(DUMP), ["version", "deeper"]) is None


def test_what_it_cannot_read_is_an_error() -> None:
    for text in ('a = """', "a = nonsense", "a . = 1", "a = 2026-11-22"):
        with pytest.raises(ValueError, match="not"):
            parse(text)
