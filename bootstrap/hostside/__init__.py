"""Code that runs on hosts: standard library only, Python 3.8 and later, imports nothing else of gpuctl.

Sent by the probe as one script, and to /run/gpuctl together with the Ansible modules that import it.
"""
