"""All commands, by what they are about: what `berth --help` lists, and where each is. Pure, and nothing is imported for it.

To add a command, add a row: a module below `resolver.cli.commands` and what it is called there. `run`, `exec`, `attach`, `ps` and
`network ls` are not click's; `resolver.cli.main` knows them.
"""

from __future__ import annotations

Row = tuple[str, str, str]
"""Name, one line of what it does, `module:attribute` ("" for those without click)."""

SANDBOXES: tuple[Row, ...] = (
    ("run", "Run a command in a sandbox of its own.", ""),
    ("exec", "Run one more command in a sandbox.", ""),
    ("ps", "List sandboxes.", ""),
    ("inspect", "Show sandboxes or networks as JSON.", "inspection:inspect"),
    ("port", "Show where the ports of a sandbox are published.", "inspection:port"),
    ("top", "List the processes in a sandbox.", "processes:top"),
    ("stats", "Show the traffic of sandboxes.", "processes:stats"),
    ("kill", "Send a signal to what runs in sandboxes.", "processes:kill"),
    ("wait", "Wait until sandboxes have ended, and print their exit codes.", "processes:wait"),
    ("logs", "Print what the commands of sandboxes have printed.", "lifecycle:logs"),
    ("stop", "Stop what runs in sandboxes.", "lifecycle:stop"),
    ("start", "Start stopped sandboxes again.", "lifecycle:start"),
    ("restart", "Stop sandboxes and start them again.", "lifecycle:restart"),
    ("rm", "Remove sandboxes.", "sandboxes:rm"),
    ("prune", "Remove stopped sandboxes.", "lifecycle:prune"),
    ("rename", "Rename a sandbox.", "sandboxes:rename"),
    ("sandbox", "Prepare sandboxes for programs of others.", "sandbox_create:sandbox"),
    ("tap", "Give virtual machines a link on a network.", "taps:tap"),
    ("attach", "Adopt an existing network namespace as a sandbox.", ""),
    ("detach", "Release an adopted sandbox.", "sandboxes:detach"),
    ("unshare", "Run a command where the sandboxes of an ordinary user are.", "unshare:unshare"),
)
NETWORKS: tuple[Row, ...] = (
    ("network", "Create and change networks.", "networks:network"),
    ("egress", "Show and change what sandboxes may reach.", "egress:egress"),
    ("graph", "Print networks and sandboxes as a picture.", "topology:graph"),
)
PROJECTS: tuple[Row, ...] = (
    ("up", "Start a Compose project.", "compose:up"),
    ("down", "Remove a Compose project.", "compose:down"),
    ("config", "Print a Compose project as it is read.", "compose:config"),
    ("compose", "Commands as `docker compose` has them, options before the command too.", "compose:compose"),
)
NAMES: tuple[Row, ...] = (
    ("resolve", "Look up a name as a sandbox would.", "names:resolve"),
    ("cache", "Show or clear the DNS cache.", "names:cache"),
    ("host-dns", "Have this host find the names of sandboxes.", "host_dns:host_dns"),
)
DAEMON: tuple[Row, ...] = (
    ("daemon", "Run the daemon in the foreground, or stop the one that runs.", "daemon:daemon"),
    ("status", "Show the daemon's state.", "daemon:status"),
    ("version", "Show the versions of the command and of the daemon.", "daemon:version"),
    ("events", "Follow what happens to networks and sandboxes.", "events:events"),
    ("node", "Show the hosts of a cluster.", "daemon:node"),
    ("doctor", "Compare what exists with what is recorded.", "doctor:doctor"),
    ("service", "Run the daemon by systemd.", "service:service"),
    ("systemd-dropin", "Write a drop-in that runs a service in a sandbox.", "systemd_dropin:systemd_dropin"),
    ("upgrade", "Say what a restart with this berth will do.", "upgrade:upgrade"),
    ("backup", "Write the state of this host to FILE.", "state:backup"),
    ("restore", "Put the state in FILE in the place of this host's.", "state:restore"),
    ("completion", "Print or install shell completion.", "completion:completion"),
)
GROUPS = (("Sandboxes", SANDBOXES), ("Networks", NETWORKS), ("Compose projects", PROJECTS), ("Names", NAMES), ("The daemon", DAEMON))
"""Heading → its commands, in the order of the help."""
ROWS: tuple[Row, ...] = tuple(row for _, rows in GROUPS for row in rows)

SANDBOX_ROWS: tuple[Row, ...] = (("create", "Create a sandbox that waits for whoever enters it.", "sandbox_create:create"),)
TAP_ROWS: tuple[Row, ...] = (
    ("create", "Create a tap called NAME on NETWORK, for a virtual machine.", "taps:create"),
    ("rm", "Remove taps.", "taps:rm"),
)
NETWORK_ROWS: tuple[Row, ...] = (
    ("create", "Create a network called NAME.", "network_create:create"),
    ("ls", "List networks.", ""),
    ("inspect", "Show networks as JSON.", "inspection:network_inspect"),
    ("connect", "Connect SANDBOX to NETWORK.", "networks:connect"),
    ("disconnect", "Disconnect SANDBOX from NETWORK.", "networks:disconnect"),
    ("record", "Give a network static names.", "records:record"),
    ("rm", "Remove networks that have no endpoints.", "networks:rm"),
    ("prune", "Remove unused networks.", "networks:prune"),
)
RECORD_ROWS: tuple[Row, ...] = (
    ("add", "Add a static name to NETWORK.", "records:record_add"),
    ("ls", "List the static names of NETWORK.", "records:record_ls"),
    ("remove", "Remove static names from NETWORK.", "records:record_remove"),
)
EGRESS_ROWS: tuple[Row, ...] = (
    ("show", "Show the egress rules of a sandbox, and what they have opened.", "egress:show"),
    ("add", "Add egress rules to those of a sandbox.", "egress:add"),
    ("remove", "Take egress rules from a sandbox.", "egress:remove"),
    ("set", "Give a sandbox other egress rules.", "egress:set_rules"),
    ("test", "Say whether a sandbox may reach something.", "egress:test"),
    ("log", "Show what egress rules refused.", "egress:log"),
    ("learn", "Show the egress rules that a sandbox has needed.", "egress:learn"),
)
COMPOSE_ROWS: tuple[Row, ...] = (
    ("ls", "List Compose projects that are up.", ""),
    ("ps", "List the sandboxes of a Compose project.", ""),
    ("run", "Run a command in one more sandbox of a service.", "compose_run:run"),
    ("scale", "Start or remove replicas of services.", "compose_scale:scale"),
)
CACHE_ROWS: tuple[Row, ...] = (
    ("ls", "List cached responses.", "names:cache_ls"),
    ("flush", "Clear cached responses.", "names:cache_flush"),
)
HOST_DNS_ROWS: tuple[Row, ...] = (
    ("enable", "Have this host's name server ask berth for its names.", "host_dns:enable"),
    ("disable", "Take back what `enable` has changed.", "host_dns:disable"),
    ("status", "Show what is set up, and whether it works.", "host_dns:status"),
)
NODE_ROWS: tuple[Row, ...] = (("ls", "List the hosts that share overlay networks.", "daemon:node_ls"),)
SERVICE_ROWS: tuple[Row, ...] = (
    ("install", "Write the unit berth.service.", "service:service_install"),
    ("uninstall", "Stop the service and remove its unit.", "service:service_uninstall"),
)

SUMMARY = "Docker's container networking for any process."
DESCRIPTION = (
    "berth gives processes networks, addresses, names, a gateway and published ports. The admin socket is $BERTH_RUN_DIR/berth.sock: "
    "of root /run/berth/berth.sock, of others $XDG_RUNTIME_DIR/berth/berth.sock by default."
)
