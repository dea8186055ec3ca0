"""tools/azurite.py: Azurite starts beside other copies, keeps its ports, and ends with its parent."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from azure.data.tables import TableServiceClient
from azure.storage.queue import QueueClient, QueueServiceClient

from tests.support.orphans import wait_for_end
from tools import azurite as module
from tools.azurite import ROOT, Azurite, AzuriteError


def queue_of(connection_string: str) -> QueueClient:
    return QueueClient.from_connection_string(connection_string, "leads")


def test_all_three_services_answer(azurite: Azurite) -> None:
    assert list(QueueServiceClient.from_connection_string(azurite.connection_string).list_queues()) == []
    assert list(TableServiceClient.from_connection_string(azurite.connection_string).list_tables()) == []
    with socket.create_connection(("127.0.0.1", azurite.ports["blob"]), timeout=60):
        pass


def test_an_account_sees_nothing_of_another(fresh_storage: str, _unused_accounts: Iterator[str]) -> None:
    with queue_of(fresh_storage) as queue:
        queue.create_queue()
        queue.send_message("mine")
    TableServiceClient.from_connection_string(fresh_storage).create_table("Mine")
    other = next(_unused_accounts)
    assert list(QueueServiceClient.from_connection_string(other).list_queues()) == []
    assert list(TableServiceClient.from_connection_string(other).list_tables()) == []


def test_restart_keeps_ports_and_on_disk_the_data(tmp_path: Path, azurite: Azurite) -> None:
    with Azurite(tmp_path) as mine:
        assert not set(mine.ports.values()) & set(azurite.ports.values()), "copies run side by side"
        queue = queue_of(mine.connection_string)
        queue.create_queue()
        queue.send_message("still here")
        ports, pid = dict(mine.ports), mine.pid

        mine.restart()

        assert (mine.ports, mine.pid != pid) == (ports, True)
        assert [message.content for message in queue.peek_messages()] == ["still here"]


def test_in_memory_a_restart_forgets_and_a_port_that_was_taken_meanwhile_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Azurite() as azurite:
        QueueServiceClient.from_connection_string(azurite.connection_string).create_queue("leads")
        azurite.restart()
        assert list(QueueServiceClient.from_connection_string(azurite.connection_string).list_queues()) == []
        process, port = psutil.Process(azurite.pid), azurite.ports["queue"]
        azurite.stop()
        azurite.stop()
        assert not process.is_running()
        with pytest.raises(AzuriteError, match="stopped"):
            _ = azurite.pid
        monkeypatch.setattr(module, "PORT_SECONDS", 0)
        with (
            socket.create_server(("127.0.0.1", port)),
            pytest.raises(AzuriteError, match=f"EADDRINUSE.*{port}") as error,
        ):
            azurite.restart()
    assert "\n" not in str(error.value)


def test_it_ends_when_its_parent_is_killed() -> None:
    code = "import time; from tools.azurite import Azurite; print(Azurite().pid, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        azurite = int(parent.stdout.readline())
        parent.kill()
    wait_for_end(azurite)


def test_where_it_is_not_installed_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "ENTRY", tmp_path / "azurite.js")
    with pytest.raises(AzuriteError, match="make setup"):
        Azurite()
