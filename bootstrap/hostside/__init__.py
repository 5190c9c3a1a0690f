"""Code that runs on hosts: standard library only, Python 3.8 and later, imports nothing else of gpuctl.

Sent by the probe as one script, and imported by the Ansible modules as `ansible.module_utils.gpuctl_*`.
"""
