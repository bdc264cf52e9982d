"""`berth up` and `berth down`: a Compose project as networks, sandboxes and processes, and the end of them.

| question | module |
|---|---|
| which file, which variables | `project_file` |
| which requests, in which order, with which bodies; the environment of a process | `plan` (pure) |
| when to stop, when to kill, which exit code | `plan` (pure) |
| carrying it out: requests, processes, output, the end | `session` |
| one process of a service: starting, output, signals | `processes` |
| `berth down` | `down` |
"""
