"""What a host is told about the app's functions: another host would run them just so."""

from __future__ import annotations

from devhost.runtime import LoadedApp


def test_intake_is_a_post_under_its_own_key_with_or_without_an_offer(indexed_app: LoadedApp) -> None:
    accept = indexed_app.functions["accept_lead"]
    assert (accept.type, accept.route, accept.auth_level) == ("httpTrigger", "leads/{*offer}", "function")
    assert "POST" in accept.methods


def test_status_is_read_only_under_a_key(indexed_app: LoadedApp) -> None:
    status = indexed_app.functions["lead_status"]
    assert (status.route, status.methods, status.auth_level) == ("status/{lead_id}", ("GET",), "function")


def test_without_a_key_the_host_opens_health_the_console_s_files_and_what_asks_for_a_login_itself(
    indexed_app: LoadedApp,
) -> None:
    open_to_all = [f.name for f in indexed_app.of_type("httpTrigger") if f.auth_level == "anonymous"]
    assert open_to_all == ["signed_in", "console", "health"]


def test_delivery_listens_to_the_queue_of_the_leads_storage(indexed_app: LoadedApp) -> None:
    [deliver] = indexed_app.of_type("queueTrigger")
    assert (deliver.name, deliver.queue_name, deliver.connection) == ("deliver_lead", "leads", "LeadsStorage")


def test_one_timer_runs_every_minute_as_each_would_keep_an_instance_of_its_own(indexed_app: LoadedApp) -> None:
    schedules = {function.name: function.schedule for function in indexed_app.of_type("timerTrigger")}
    assert schedules == {"watch": "0 * * * * *"}


def test_no_output_binding_is_used(indexed_app: LoadedApp) -> None:
    # An output binding cannot set a message's life time: what it writes is gone after seven days.
    kinds = {binding["type"] for function in indexed_app.functions.values() for binding in function.bindings}
    assert kinds <= {"httpTrigger", "http", "queueTrigger", "timerTrigger"}
