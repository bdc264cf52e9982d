"""docs/attacks.md: what was tried against berth and held, by name, each with the test that tries it.

`python -m tests.style.attacks` writes the page. A test fails if the page differs, if a test is gone, or if a file that holds
nothing but attacks has a test that is not here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "attacks.md"
INTRODUCTION = """# Attacks

What was tried against berth, and held. Each line is a test that runs with the others, so nothing here is a claim of the past.
The page is made by `python -m tests.style.attacks`. What is not defended against is in [Security](security.md).

Besides, octets that others control are made at random for each of their parsers: [Figures](figures.md#fuzzers) has how many were tried.
"""


@dataclass(frozen=True)
class Attack:
    """*test*: `FILE::NAME` below tests/. *names*: what is tried, by name; those of the test's parameters if nothing is given."""

    what: str
    test: str
    names: Callable[[Any], Sequence[str]] | None = None

    def function(self) -> Any:
        """Return the test; AttributeError if there is none."""
        file, _, name = self.test.partition("::")
        return getattr(importlib.import_module(f"tests.{file.removesuffix('.py').replace('/', '.')}"), name)

    def kinds(self) -> list[str]:
        """Return what is tried, by name."""
        function = self.function()
        if self.names is None:
            return []
        return list(self.names(importlib.import_module(function.__module__)))


def _forbidden(module: Any) -> Sequence[str]:
    texts = {"mac": "02:00:00:00:00:01", "ipv4": "10.0.0.2", "ipv6": "fd00::2"}
    evil = module.Member(**{name: texts.get(name, "x") for name in module.Member._fields})
    return [*module.forbidden(evil, evil, "10.0.0.1", "02:00:00:00:00:02")]


def _escapes(_: Any) -> Sequence[str]:
    from tests.escape.attempts import kinds  # Only for this line.

    return [*kinds()]


def _parameters(name: str) -> Callable[[Any], Sequence[str]]:
    """Return what gives the ids of the parameters of test *name*."""

    def ids(module: Any) -> Sequence[str]:
        marks = [mark for mark in getattr(module, name).pytestmark if mark.name == "parametrize"]
        return [
            " ".join(part for part in value if isinstance(part, str)) if isinstance(value, tuple) else str(value)
            for value in marks[0].args[1]
        ]

    return ids


@dataclass(frozen=True)
class Group:
    """*whole*: files below tests/ of which every test is here. *besides*: their tests that are no attacks."""

    title: str
    attacks: tuple[Attack, ...]
    whole: tuple[str, ...] = ()
    besides: frozenset[str] = field(default_factory=frozenset)


GROUPS = (
    Group(
        "A sandbox, by frames and packets",
        (
            Attack("send what only others may send", "netns/test_frames.py::test_what_a_sandbox_must_not_send_is_heard_by_nobody", _forbidden),
            Attack("move a neighbour's entry in the bridge's table", "netns/test_frames.py::test_endpoints_have_entries_that_no_frame_can_move"),
            Attack("fill the bridge's table with 5,000 addresses", "netns/test_frames.py::test_five_thousand_addresses_leave_the_table_as_it_was"),
            Attack(
                "reach the host's link by frames that bridges keep",
                "netns/test_frames.py::test_frames_that_bridges_keep_do_not_reach_the_host_by_the_port",
            ),
            Attack(
                "send as another while it is connected and disconnected",
                "netns/test_frames.py::test_nothing_passes_while_a_sandbox_is_connected_and_disconnected",
                _parameters("test_nothing_passes_while_a_sandbox_is_connected_and_disconnected"),
            ),
            Attack(
                "send as another while the daemon is away and starts again",
                "netns/test_frames.py::test_nothing_passes_while_the_daemon_is_started_again",
                _parameters("test_nothing_passes_while_the_daemon_is_started_again"),
            ),
            Attack("spoof its address, by IP, ARP and neighbour discovery", "netns/test_firewall.py::test_spoofed_source_is_dropped_for_ip_arp_and_nd"),
            Attack("change its MAC", "netns/test_firewall.py::test_changed_mac_is_dropped"),
            Attack("use a port of the bridge that berth did not make", "netns/test_host_access.py::test_unknown_ports_of_a_bridge_of_ours_send_nothing_and_are_left_alone_where_told"),
        ),
        whole=("netns/test_frames.py",),
        besides=frozenset({"test_what_looks_alike_and_is_right_is_heard", "test_a_router_may_advertise_itself_and_pass_on_what_others_sent"}),
    ),
    Group(
        "A sandbox, on the host and other networks",
        (
            Attack("reach another network", "netns/test_firewall.py::test_networks_are_isolated"),
            Attack("reach its neighbours with `icc=false`", "netns/test_firewall.py::test_icc_off_keeps_them_apart"),
            Attack("reach the host's loopback", "netns/test_firewall.py::test_loopback_of_the_host_is_closed_to_sandboxes"),
            Attack("reach services of the host that are closed to it", "netns/test_host_access.py::test_services_of_the_host"),
            Attack("reach the gateway address of another network", "netns/test_host_access.py::test_a_gateway_is_for_its_own_network"),
            Attack("fill the host's neighbour table", "netns/test_host_access.py::test_neighbours_that_one_sandbox_has_the_host_look_for_are_bounded"),
            Attack("fill the host's connection table", "netns/test_host_access.py::test_connections_of_one_sandbox_are_bounded"),
            Attack("reach anything while the tables are flushed", "netns/test_guard.py::test_all_is_closed_from_the_flush_until_the_tables_are_back"),
            Attack("the same without a daemon", "netns/test_guard.py::test_the_bridges_stay_closed_without_a_daemon"),
            Attack("get through with what is on its way during a flush", "netns/test_guard.py::test_what_is_on_its_way_during_a_flush_does_not_get_through"),
            Attack("take all places of a relayed TCP port", "loop/test_relays.py::test_one_source_does_not_take_all_places"),
            Attack("take all places of a relayed UDP port", "loop/test_relays.py::test_one_source_does_not_take_all_places_of_a_udp_port"),
            Attack("take the places of all relayed ports of others", "loop/test_relays.py::test_ports_of_one_sandbox_leave_places_to_those_of_another"),
            Attack("keep relayed connections for ever", "loop/test_relays.py::test_silent_connection_is_closed_on_both_sides"),
        ),
    ),
    Group(
        "Root in a virtual machine behind a tap",
        (
            Attack("send as another, be a DHCP server, be a router", "netns/test_taps.py::test_a_hostile_guest_is_held_to_its_own"),
            Attack("flood berth with DHCP", "netns/test_taps.py::test_a_flood_of_questions_is_not_answered_one_by_one"),
            Attack("go past its egress rules", "netns/test_taps.py::test_egress_rules_hold_a_guest"),
            Attack("send frames that are no questions", "unit/netcore/test_dhcp_server.py::test_any_frame_is_read"),
        ),
    ),
    Group(
        "Root in a sandbox with egress rules",
        (
            Attack(
                "reach addresses, ports, peers and the host that no rule names",
                "netns/test_egress.py::test_an_allowed_name_is_reached_at_its_ports_and_nothing_else_is",
            ),
            Attack("whatever a runtime's root can send, in more than four thousand variants, and at each moment when something changes", "escape/test_escapes.py::test_nothing_gets_through", _escapes),
            Attack("the same against an ordinary user's berth, from his own podman and bubblewrap too, and while what carries his connections is killed", "escape/test_user_escapes.py::test_nothing_gets_through"),
            Attack("keep others from the outside by a connection that it never ends, once what carries them has crashed", "netns/test_rootless.py::test_way_out_that_is_killed_comes_back_although_a_client_takes_no_end"),
            Attack("take all connections to the outside, without root", "netns/test_rootless_limits.py::test_one_sandbox_leaves_connections_to_the_others"),
            Attack("take all flows of datagrams to the outside, without root", "netns/test_rootless_limits.py::test_one_sandbox_leaves_datagrams_to_the_others"),
            Attack("ask for names that no rule allows", "netns/test_egress.py::test_questions_are_refused_with_the_reason_and_never_leave"),
            Attack(
                "ask at the gateway from an address that the resolver does not know it by",
                "netns/test_egress.py::test_only_addresses_that_the_resolver_knows_it_by_may_ask_at_the_gateway",
            ),
            Attack("names with dots and odd octets in their labels", "unit/resolver/test_egress.py::test_labels_with_dots_and_odd_octets_are_below_no_rule"),
            Attack("carry data in new names below a wildcard", "unit/resolver/test_egress.py::test_new_names_below_a_wildcard_are_bounded"),
            Attack(
                "ICMP, IPIP, GRE, SCTP, UDP to open TCP ports, other name servers",
                "netns/test_egress.py::test_what_root_in_the_sandbox_sends_by_other_protocols_reaches_nobody",
            ),
            Attack("send before the rules are there", "netns/test_egress.py::test_the_first_thing_that_it_sends_is_judged"),
            Attack("go on after a rule was taken away", "netns/test_egress.py::test_rules_change_at_once_and_only_what_they_forbid_is_cut"),
            Attack(
                "go on with connections from before there were rules",
                "netns/test_egress.py::test_connections_to_peers_from_before_there_were_rules_are_cut",
            ),
            Attack(
                "use the time without a daemon", "netns/test_egress.py::test_a_kill_opens_nothing_and_cuts_nothing_and_what_was_open_is_read_back"
            ),
            Attack(
                "use the time without a firewall", "netns/test_egress.py::test_nothing_passes_while_the_ruleset_is_flushed_and_all_is_back_then"
            ),
            Attack("enter another namespace, uncover berth's sockets", "netns/test_egress.py::test_commands_in_it_have_no_rights_and_paths_to_other_namespaces"),
            Attack("a way out of an adopted namespace's own", "netns/test_egress.py::test_an_adopted_namespace_with_a_way_out_of_its_own_is_refused"),
            Attack("modes and drivers that pass by the firewall", "netns/test_egress.py::test_rules_that_can_not_be_kept_are_refused_before_anything_happens"),
        ),
    ),
    Group(
        "A command, to its host",
        (
            Attack("command berth's daemon", "netns/test_commands.py::test_a_command_does_not_command_the_daemon"),
            Attack(
                "read berth's state, files of other sandboxes, namespaces",
                "netns/test_commands.py::test_state_and_other_sandboxes_files_are_hidden_and_the_rest_of_run_is_not",
            ),
            Attack("change what is read and written as root for it", "netns/test_commands.py::test_a_command_writes_nothing_that_the_daemon_reads"),
            Attack(
                "enter the first process, mount, uncover, make devices, write sysctls",
                "netns/test_commands.py::test_what_is_the_whole_hosts_is_masked_and_can_not_be_changed",
            ),
            Attack("have the caller's groups", "netns/test_commands.py::test_groups_of_the_caller_are_given_up"),
            Attack("have the caller's descriptors", "netns/test_commands.py::test_descriptors_above_2_are_closed_but_those_that_are_named"),
            Attack("type into the terminal of who started it", "netns/test_commands.py::test_a_command_does_not_type_into_the_callers_terminal"),
            Attack("write beside its directory, confined", "netns/test_commands.py::test_what_is_confined_writes_to_its_directory_and_has_no_right"),
            Attack("command the daemon, or ask the edge for sockets of the host, without root", "netns/test_rootless_commands.py::test_a_command_does_not_command_the_daemon"),
            Attack("type into the terminal of who started it, without root", "netns/test_rootless_commands.py::test_a_command_does_not_type_into_the_callers_terminal"),
            Attack("use rights that it asked for on the host, without root", "netns/test_rootless_commands.py::test_rights_that_are_asked_for_are_none_over_the_host"),
            Attack("read and write files of the user's, confined, without root", "netns/test_rootless_commands.py::test_what_is_confined_reads_and_writes_no_file_of_the_users"),
            Attack("reach what the host has on loopback, by addresses that a socket takes for others, without root", "netns/test_rootless_attacks.py::test_no_address_leads_to_what_the_host_has_on_loopback"),
            Attack("end the nest of a user by taking all his processes", "netns/test_rootless_attacks.py::test_without_room_for_processes_the_nest_waits"),
            Attack("fill the memory with logs of a nest", "netns/test_rootless_attacks.py::test_logs_in_memory_are_bounded"),
            Attack("enter the nest of another user, or use its sockets", "netns/test_rootless_attacks.py::test_another_user_does_not_get_into_the_nest"),
            Attack("prepare the directory where another user's nest is to be", "netns/test_rootless.py::test_directory_that_others_can_change_is_refused"),
            Attack("have another user's daemon start what is saved in a directory of one's own", "netns/test_rootless_attacks.py::test_state_that_others_can_change_is_refused"),
            Attack("use the bus of the user's session, without root", "netns/test_rootless.py::test_a_command_does_not_see_the_session"),
        ),
    ),
    Group(
        "A name server, to a sandbox with egress rules",
        (
            Attack(
                "answer with metadata, the host, private addresses", "netns/test_egress.py::test_answers_open_nothing_that_is_special_private_or_the_hosts"
            ),
            Attack(
                "the same in other forms", "unit/netcore/test_egress_policy.py::test_what_no_name_ever_opens", _parameters("test_what_no_name_ever_opens")
            ),
            Attack("add records that nobody asked for", "unit/resolver/test_answered.py::test_what_does_not_belong_to_the_question_opens_nothing"),
            Attack("hide the server name (ech)", "unit/resolver/test_answered.py::test_it_is_found_behind_any_number_of_parameters"),
        ),
    ),
    Group(
        "A sandbox that may reach some names only",
        (
            Attack("name another server at the same address", "netns/test_look.py::test_other_names_are_refused_in_the_words_of_their_protocol"),
            Attack("overlaps, bad checksums, half a hello, options in the header, several beginnings", "netns/test_look.py::test_of_what_is_not_allowed_nothing_arrives"),
            Attack("changed repetitions, low hop limits, old timestamps", "netns/test_look.py::test_the_server_reads_what_was_read_or_nothing"),
            Attack("begin anew in an open connection", "netns/test_look.py::test_an_open_connection_is_looked_at_again_when_it_begins_anew"),
            Attack("segments of two hellos at any place", "unit/netcore/look/test_flow.py::test_a_hostile_client_reaches_nobody_but_whom_it_may"),
            Attack("have data read that lie before what the server expects", "unit/netcore/look/test_flow.py::test_only_the_server_says_where_the_data_begin"),
            Attack("swap the connection while it is being opened", "unit/netcore/look/test_flow.py::test_a_new_connection_between_the_same_ends_is_another_one"),
            Attack("the same in the kernel", "netns/test_look_failures.py::test_a_mark_is_exchanged_only_for_the_one_that_was_read"),
            Attack("swap it while other rules are taken up", "netns/test_moved_flows.py::test_what_begins_anew_while_other_rules_are_taken_up_is_not_allowed"),
            Attack("send while no daemon looks", "netns/test_look_failures.py::test_while_nobody_looks_nothing_leaves_and_then_it_goes_on"),
            Attack("use what an earlier daemon allowed", "unit/netcore/look/test_flow.py::test_what_an_earlier_daemon_allowed_is_no_way_in_for_another_connection",
                   _parameters("test_what_an_earlier_daemon_allowed_is_no_way_in_for_another_connection")),
            Attack("ClientHellos that two servers could read in two ways", "unit/netcore/look/test_client_hello.py::test_what_can_be_read_in_two_ways_is_refused"),
            Attack("damaged ClientHellos, beside a TLS library", "unit/netcore/look/test_client_hello.py::test_a_library_reads_the_same_name_in_damaged_hellos"),
            Attack("requests that two servers could read in two ways", "unit/netcore/look/test_http_request.py::test_what_can_be_read_in_two_ways_is_refused"),
            Attack("name another server in a later request", "netns/test_egress.py::test_each_request_of_a_connection_names_its_server"),
            Attack("hide a request in the body of another one", "unit/netcore/look/test_http_requests.py::test_what_can_be_read_in_two_ways_ends_the_connection"),
            Attack("have the middle of a request read as a new one by another daemon", "unit/netcore/look/test_flow.py::test_in_the_middle_of_a_line_it_does_not",
                   _parameters("test_in_the_middle_of_a_line_it_does_not")),
            Attack("pretend to begin another protocol", "unit/netcore/look/test_flow.py::test_another_protocol_begins_only_when_the_server_has_agreed"),
            Attack("name another server at an address that answers opened", "netns/test_egress.py::test_another_name_of_the_same_address_is_refused_in_the_words_of_its_protocol"),
            Attack("reach a name that is denied by an address that is allowed", "netns/test_egress.py::test_the_look_can_be_turned_off_for_a_name_and_on_for_all"),
            Attack("QUIC", "netns/test_look.py::test_quic_is_refused_at_once"),
            Attack("take the places of other sandboxes", "unit/netcore/look/test_flows.py::test_a_sandbox_forgets_its_own_oldest"),
            Attack("fill the memory", "unit/netcore/look/test_flows.py::test_the_octets_of_a_sandbox_are_bounded"),
        ),
    ),
    Group(
        "A sandbox, at the resolver",
        (
            Attack("have long questions remembered", "netns/test_hostile_dns.py::test_octets_behind_the_question_are_a_format_error_and_take_no_memory"),
            Attack("octets behind the last record", "unit/resolver/test_hostile_memory.py::test_octets_behind_the_last_record_are_a_format_error"),
            Attack("long queries, each a new one", "unit/resolver/test_hostile_memory.py::test_long_queries_are_answered_and_not_remembered"),
            Attack("many remembered replies", "unit/resolver/test_hostile_memory.py::test_remembered_replies_of_one_client_are_bounded_in_octets"),
            Attack("a long reply asked for again", "unit/resolver/test_hostile_memory.py::test_long_reply_that_is_remembered_is_not_made_again"),
            Attack("long queries that wait", "unit/resolver/test_hostile_memory.py::test_query_that_waits_keeps_its_question_only"),
            Attack("a client subnet that is none", "unit/resolver/test_hostile_memory.py::test_subnet_of_a_client_is_passed_on_if_it_can_be_one"),
            Attack("all TCP connections of a gateway", "netns/test_hostile_dns.py::test_a_sandbox_that_holds_all_tcp_connections_of_a_gateway_takes_its_own_only"),
            Attack("TCP connections from one address", "loop/test_hostile_tcp.py::test_connections_at_a_gateway_are_counted_by_asker"),
            Attack("TCP connections in a crowd", "loop/test_hostile_tcp.py::test_connections_at_a_gateway_are_shared_in_a_crowd"),
            Attack("TCP connections to several listeners", "loop/test_hostile_tcp.py::test_connections_of_one_client_are_counted_over_all_listeners"),
            Attack("the share of others, as a stranger", "loop/test_hostile_tcp.py::test_strangers_share_replies_and_not_shares"),
            Attack("messages that are never finished", "loop/test_hostile_tcp.py::test_unfinished_messages_take_bounded_octets"),
            Attack("responses that it does not read", "loop/test_hostile_tcp.py::test_responses_that_nobody_reads_take_bounded_octets"),
            Attack("large responses one after the other", "loop/test_hostile_tcp.py::test_one_turn_writes_a_bounded_number_of_octets"),
            Attack("hold up the neighbours by dear questions", "netns/test_hostile_dns.py::test_neighbours_are_answered_while_large_answers_are_asked_for"),
            Attack("the dearest questions and answers", "unit/resolver/test_hostile_costs.py::test_cost_of_what_a_stranger_sends", lambda module: [*module.KINDS]),
            Attack("more queries than its share", "unit/resolver/test_quota.py::test_quota_is_equal_in_a_crowd"),
            Attack("ten times as many queries as can be answered", "campaign/test_flood.py::test_a_flood_of_a_second"),
            Attack("learn the names of other networks", "netns/test_hostile_dns.py::test_names_of_other_networks_do_not_exist_and_do_not_leave"),
            Attack("take a public name by a network's name", "unit/resolver/test_foreign_names.py::test_a_network_takes_no_other_name_from_anybody",
                   _parameters("test_a_network_takes_no_other_name_from_anybody")),
            Attack("borrow a router's names from an internal network", "netns/test_hostile_dns.py::test_router_does_not_lend_its_identity_on_an_internal_network"),
            Attack("take all ports of its loopback before the daemon", "netns/test_recovery.py::test_nobody_can_keep_a_sandbox_from_its_resolver_by_taking_ports"),
        ),
        whole=("netns/test_hostile_dns.py", "loop/test_hostile_tcp.py", "unit/resolver/test_hostile_memory.py", "unit/resolver/test_hostile_costs.py"),
        besides=frozenset({"test_who_waits_for_an_answer_sees_a_reset_and_who_does_not_an_end", "test_other_answers_pass", "test_addresses_of_the_host_belong_to_names_of_its_search_domains", "test_size_of_an_answer_is_what_it_takes"}),
    ),
    Group(
        "A name server outside",
        (
            Attack("answers that lead to what is ours", "netns/test_hostile_dns.py::test_answers_that_lead_to_what_is_ours_are_refused",
                   _parameters("test_answers_that_lead_to_what_is_ours_are_refused")),
            Attack("the same in every form and section", "unit/resolver/test_rebinding.py::test_every_form_of_an_address_in_every_section"),
            Attack("hints of services", "unit/resolver/test_rebinding.py::test_hints_of_services"),
            Attack("an alias of a name of ours", "unit/resolver/test_rebinding.py::test_alias_of_a_name_of_ours"),
            Attack("a service at a name of ours", "unit/resolver/test_rebinding.py::test_service_whose_target_is_a_name_of_ours"),
            Attack("names that point forward or in circles", "unit/resolver/test_rebinding.py::test_names_that_point_forward_or_in_circles_are_refused"),
            Attack("endless texts of errors", "unit/resolver/test_hostile_memory.py::test_extended_errors_of_an_upstream_are_bounded_and_counted"),
            Attack("answers that replace each other", "unit/resolver/test_hostile_memory.py::test_answers_that_were_replaced_take_no_octets"),
            Attack("thousands of messages at once", "loop/test_hostile_tcp.py::test_thousands_of_messages_of_a_name_server_wait_for_their_turn"),
            Attack("no DNS at all", "loop/test_hostile_tcp.py::test_name_server_that_does_not_speak_dns_is_cut_off"),
            Attack("long datagrams one after the other", "loop/test_hostile_tcp.py::test_long_datagrams_of_a_name_server_are_read_a_few_at_a_time"),
        ),
    ),
    Group(
        "Root in a sandbox, and files that it can reach",
        (
            Attack("pipes, sockets, directories and links where files were", "unit/netcore/test_files.py::test_what_is_no_file_is_not_read",
                   lambda module: [make.__name__.strip("_").replace("_", " ") for make in module.ODD.args[1]]),
            Attack("the same while the daemon runs", "daemon/test_host_side.py::test_pipes_and_links_where_files_were_hold_up_nobody"),
            Attack("a hosts file of a gigabyte", "daemon/test_host_side.py::test_hosts_file_of_a_gigabyte_is_left_alone_and_not_read"),
            Attack("a namespace that is something else", "unit/netcore/test_open_netns.py::test_what_is_something_else", _parameters("test_what_is_something_else")),
            Attack("a loopback without its address", "netns/test_recovery.py::test_sandbox_that_broke_its_own_loopback_is_mended_and_served"),
            Attack("break again what was repaired", "netns/test_drift.py::test_what_root_in_a_sandbox_breaks_again_is_left_until_somebody_asks"),
        ),
    ),
    Group(
        "Local users",
        (
            Attack("change something by the socket for reading", "daemon/test_host_side.py::test_reader_sees_everything_and_changes_nothing"),
            Attack("adopt the namespace of another, as a member of the group", "daemon/test_host_side.py::test_member_of_the_group_adopts_only_what_is_theirs"),
            Attack("remove the admin socket", "daemon/test_host_side.py::test_admin_socket_that_is_removed_is_made_again"),
            Attack("start a second daemon", "daemon/test_host_side.py::test_second_daemon_with_other_directories_is_refused_and_changes_nothing"),
            Attack("a backup or a database with views, triggers, other tables", "loop/test_backup.py::test_what_is_no_backup_changes_nothing"),
            Attack("a guard table that nobody owns, from a saved ruleset", "unit/netcore/test_guard.py::test_one_from_a_saved_ruleset_is_made_anew_with_an_owner"),
            Attack("moments that are none, by the API", "unit/resolver/test_admin.py::test_moments_that_are_none_are_refused"),
            Attack("stop the keeper while no daemon runs", "loop/test_keeper.py::test_a_keeper_that_was_stopped_goes_on"),
            Attack("hang the keeper so that it holds ports", "loop/test_keeper.py::test_a_keeper_that_hangs_holds_no_ports_against_the_next_daemon"),
            Attack("hang the keeper while the daemon runs", "loop/test_keeper.py::test_a_keeper_that_hangs_while_the_daemon_runs_is_ended_so_that_another_follows"),
            Attack("take all places of the keeper", "loop/test_keeper.py::test_a_keeper_where_too_many_wait_does_not_hang_a_daemon"),
            Attack("send the keeper what is no command", "loop/test_keeper.py::test_octets_that_are_no_command_harm_nobody"),
            Attack("read what is not theirs", "daemon/test_host_side.py::test_modes"),
        ),
    ),
    Group(
        "The outside",
        (
            Attack("reach a sandbox by its own address", "netns/test_firewall.py::test_address_of_a_sandbox_is_not_reachable_from_outside_even_with_a_route"),
            Attack("reach a port that is published on 127.0.0.1", "netns/test_firewall.py::test_port_on_loopback_is_for_the_host_only"),
        ),
    ),
    Group(
        "Whoever can write to etcd or answer as a plugin",
        (
            Attack("records of no use", "unit/netcore/test_cluster_state.py::test_record_of_no_use_is_noted_as_one_that_can_not_be_read",
                   lambda module: [key for case in module.OF_NO_USE for key in case]),
            Attack(
                "networks that are none or another", "unit/netcore/test_cluster_state.py::test_network_that_is_no_overlay_or_another_is_left_out",
                _parameters("test_network_that_is_no_overlay_or_another_is_left_out"),
            ),
            Attack(
                "hosts that are another or receive nowhere", "unit/netcore/test_cluster_state.py::test_host_that_is_another_or_receives_nowhere_is_left_out"
            ),
            Attack("a proxy's page in place of etcd's answer", "unit/netcore/test_etcd_answers.py::test_what_is_no_answer_of_etcd_is_a_failure_of_the_connection"),
            Attack("answers of a plugin that could not be stored", "unit/netcore/test_plugin_messages.py::test_answers_that_could_not_be_stored_are_no_json"),
        ),
    ),
)  # fmt: skip


def render() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for group in GROUPS:
        parts.append(f"## {group.title}\n\n| Tried | Test |\n|---|---|")
        for attack in group.attacks:
            kinds = list(dict.fromkeys(attack.kinds()))
            tried = f"{attack.what}: {', '.join(f'*{kind}*' for kind in kinds)}" if kinds else attack.what
            file, _, name = attack.test.partition("::")
            parts.append(f"| {tried} | [`{name}`](../tests/{file}) |")
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render())
