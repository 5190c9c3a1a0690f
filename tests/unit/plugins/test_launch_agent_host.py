"""What the role of the agent's service writes, and that the list of its packages is whole."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from bootstrap.hostside.gpuctl_unitrun import quoted
from tests.unit.plugins.test_role_files import CA, compare
from tests.unit.plugins_cluster.rendering import GOLDEN, ROLES, render

ROLE = "launch_agent_host"
SETTINGS: dict[str, Any] = {
    "launch_agent_entity": "lab",
    "launch_agent_queues": ["gpu", "big"],
    "launch_agent_max_jobs": 4,
    "launch_agent_base_url": "https://wandb.example:8080",
    "launch_agent_api_key": "0" * 40,
    "launch_agent_namespace": "wandb",
    "launch_agent_release": "gpuctl",
    "launch_agent_host_environment": {"HTTPS_PROXY": "http://proxy.example:3128", "ODD": 'a "b" \\ 50%'},
    "launch_agent_host_config": {"secure_mode": True, "builder": {"type": "docker"}},
}
PLAIN = {**SETTINGS, "launch_agent_host_environment": {}, "launch_agent_host_config": {}}
REQUIREMENTS = (ROLES / ROLE / "files" / "requirements.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "template", "values"),
    [
        ("gpuctl-launch-agent.service", "gpuctl-launch-agent.service.j2", PLAIN),
        ("rich.service", "gpuctl-launch-agent.service.j2", {**SETTINGS, "cluster_ca_certificate": CA}),
        ("launch-config.yaml", "launch-config.yaml.j2", PLAIN),
        ("rich-launch-config.yaml", "launch-config.yaml.j2", SETTINGS),
        ("netrc", "netrc.j2", PLAIN),
        ("gpuctl-launch-token.timer", "gpuctl-launch-token.timer.j2", PLAIN),
        ("gpuctl-launch-token.service", "gpuctl-launch-token.service.j2", PLAIN),
        ("by-root.service", "gpuctl-launch-token.service.j2", {**PLAIN, "launch_agent_host_renewed_by_root": True}),
    ],
)
def test_templates(name: str, template: str, values: dict[str, Any]) -> None:
    compare(GOLDEN / ROLE / name, render(ROLE, template, **values))


def test_the_key_is_in_no_other_file_than_the_credentials() -> None:
    found = {
        path.name for path in (ROLES / ROLE / "templates").iterdir() if "0" * 40 in render(ROLE, path.name, **SETTINGS)
    }
    assert found == {"netrc.j2"}


def test_an_address_with_a_password_is_in_a_file_for_root_alone() -> None:
    secret = 'http://ann:p$"`\\1w@proxy.example:3128'
    both = {**SETTINGS, "launch_agent_host_environment": {"HTTPS_PROXY": secret, "HF_HOME": "/srv/hf"}}
    unit = render(ROLE, "gpuctl-launch-agent.service.j2", **both)
    assert "p$" not in unit
    assert "EnvironmentFile=/etc/gpuctl/launch-agent/environment\n" in unit
    assert 'Environment="HF_HOME=/srv/hf"\n' in unit
    lines = render(ROLE, "environment.j2", **both).splitlines()
    assert lines[-1] == "HTTPS_PROXY=" + quoted(secret)
    assert "HF_HOME" not in lines[-2]


def test_the_group_s_settings_win_over_further_keys() -> None:
    text = render(ROLE, "launch-config.yaml.j2", **{**SETTINGS, "launch_agent_host_config": {"queues": ["x"]}})
    assert yaml.safe_load(text)["queues"] == ["gpu", "big"]


def test_every_package_is_locked_by_version_and_hash() -> None:
    text = re.sub(r"\\\n\s*", " ", REQUIREMENTS)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) > 100
    assert [line[:60] for line in lines if not re.match(r"^[a-z0-9.-]+==[^ ;]+ ", line)] == []
    assert [line[:60] for line in lines if "--hash=sha256:" not in line] == []
    assert "wandb==0.31.0" in REQUIREMENTS
    assert "://" not in REQUIREMENTS  # where they come from is the site's business


def test_no_package_depends_on_a_patch_level() -> None:
    """One set of wheels does for all hosts of a release: 3.11.2 on one machine, 3.11.7 on another."""
    assert re.findall(r"python_full_version [<>=!]+ '\d+\.\d+\.\d+'", REQUIREMENTS) == []
