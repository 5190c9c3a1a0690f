"""Test hosts on this machine: real init, ssh, packages and network, without a second machine.

`lab` is the way in (up, list_labs, ssh_command, reboot, down); the other modules are one concern each.
"""
