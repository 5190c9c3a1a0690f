"""Test hosts on this machine: hosts to install on, and the components to install from."""
