"""`berth up` and `berth down`: a Compose project as networks, sandboxes and processes, and the end of them.

| question | module |
|---|---|
| which file, which variables | `project_file` |
| what is asked for, and the whole of `berth up` | `options`, `command` |
| which requests, in which order, with which bodies; when to stop, when to kill, which exit code | `plan` (pure) |
| what stays, is started, made anew or removed of what is there | `reconcile` (pure) |
| what a service waits for | `conditions` (pure) |
| carrying it out: requests, commands, the end | `session`, one at a time by `project_lock` |
| the table of what is up | `shown` |
| what services print, and how they end | `follow` |
| starting the command of a service | `processes` |
| what is said while it takes long | `progress` |
| `berth down` | `down` |
"""
