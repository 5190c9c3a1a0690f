#!/usr/bin/env python3
import json
import sys

hosts = {"workers": {"hosts": ["gpu1"]}, "_meta": {"hostvars": {"gpu1": {"ansible_host": "192.0.2.11"}}}}
sys.stdout.write(json.dumps(hosts))
