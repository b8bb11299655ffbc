"""Returns the listeners of a host as facts. It fails if not everything could be seen, unless that is accepted."""

DOCUMENTATION = r"""
module: portolan_facts
short_description: Gathers the TCP and UDP listeners of a host, and what could not be seen
description:
  - Returns the facts C(tcp_listen) and C(udp_listen), with the names of C(community.general.listen_ports_facts), and for
    each listener also its service, exposure, flags and unit.
  - The fact C(portolan) says whether the view was complete, and lists the gaps.
  - The module fails if the view is not complete, because an empty list would then look like a host without listeners.
  - A process that is not visible has C(pid), C(name) and C(stime) null.
options:
  path:
    description: The program.
    type: str
    default: portolan
  scope:
    description: The part of the machine that must be visible.
    type: str
    choices: [machine, namespace, container]
    default: machine
  allow_incomplete:
    description: Whether to return facts although not everything could be seen.
    type: bool
    default: false
requirements: [portolan on the host]
author: The Portolan authors
"""

EXAMPLES = r"""
- name: Gather the listeners
  portolan_facts:
  become: true

- name: Nothing listens on telnet's port
  ansible.builtin.assert:
    that: ansible_facts.tcp_listen | selectattr('port', 'equalto', 23) | length == 0
"""

RETURN = r"""
ansible_facts:
  description: The listeners, one per process.
  returned: success
  type: dict
  contains:
    tcp_listen:
      description: TCP listeners with address, port, protocol, pid, name, user, stime, exe, service, exposure, flags, unit.
      type: list
      elements: dict
    udp_listen:
      description: The same for UDP.
      type: list
      elements: dict
    portolan:
      description: complete, gaps, scope, taken.
      type: dict
"""

import json
import time
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule


def start_time(text):
    """The start of a process as ps prints it, in local time; None if it is not known."""
    if text is None:
        return None
    moment = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(moment.timestamp()))


def facts_of(document):
    """The facts of a listing in JSON."""
    facts = {"tcp_listen": [], "udp_listen": []}
    for listener in document["listeners"]:
        if listener["protocol"] not in ("tcp", "udp") or listener["state"] not in ("listen", "unconnected", "published"):
            continue
        service = listener["service"] or {}
        for process in listener["processes"] or [{}]:
            facts[listener["protocol"] + "_listen"].append({
                "address": listener["address"],
                "port": listener["port"],
                "protocol": listener["protocol"],
                "pid": process.get("pid"),
                "name": process.get("name"),
                "user": process.get("user", listener["user"]),
                "stime": start_time(process.get("started")),
                "exe": process.get("exe"),
                "service": service.get("name") or service.get("product"),
                "exposure": listener["exposure"],
                "flags": [finding["code"] for finding in listener["flags"]],
                "unit": process.get("unit", listener["unit"]),
            })
    facts["portolan"] = {name: document[name] for name in ("complete", "gaps", "taken")}
    facts["portolan"]["scope"] = document["host"]["scope"]
    return facts


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "str", "default": "portolan"},
            "scope": {"type": "str", "default": "machine", "choices": ["machine", "namespace", "container"]},
            "allow_incomplete": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    program = module.get_bin_path(module.params["path"], required=True)
    code, out, error = module.run_command([program, "list", "-o", "json", "--scope", module.params["scope"]])
    if code != 0:
        module.fail_json(msg="portolan failed with exit code %d: %s" % (code, error.strip()))
    try:
        document = json.loads(out)
        if document["schema"] != "portolan/2":
            module.fail_json(msg="unknown schema %s" % document["schema"])
        facts = facts_of(document)
    except (ValueError, KeyError, TypeError) as problem:
        module.fail_json(msg="the output of portolan cannot be read: %r" % problem)
    if not document["complete"] and not module.params["allow_incomplete"]:
        causes = ["%s: %s" % (gap["what"], gap["why"]) for gap in document["gaps"]]
        module.fail_json(msg="not everything could be seen: " + "; ".join(causes), gaps=document["gaps"])
    module.exit_json(changed=False, ansible_facts=facts)


if __name__ == "__main__":
    main()
