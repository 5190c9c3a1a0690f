"""Hosts, groups and variables as Ansible itself resolves them, validated against the roles' specs."""
