"""What Azure would be given: settings, storage, rights, names. Held to the code, for each set of parameters."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from leads.destinations.vendors.azure_table import AzureTableSettings
from leads.operations import doctor
from leads.platform.settings import read_settings
from leads.platform.storage import LEADS_QUEUE, Storage
from tests.infra import code, promises
from tests.infra.bicep import ROOT, Deployment
from tests.infra.conftest import Predicted

HOST = json.loads((ROOT / "host.json").read_text())
DELIVERY = "deliver_lead"


ALWAYS: dict[str, dict[str, Any]] = {
    "Microsoft.Web/sites": {"httpsOnly": True, "publicNetworkAccess": "Enabled"},  # Microsoft posts to the intake
    "Microsoft.Storage/storageAccounts": {
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
        "allowSharedKeyAccess": False,
        "allowBlobPublicAccess": False,
    },
    "Microsoft.Storage/storageAccounts/blobServices/containers": {"publicAccess": "None"},
    "Microsoft.KeyVault/vaults": {
        "enableRbacAuthorization": True,
        "enablePurgeProtection": True,
        "enableSoftDelete": True,
    },
    "Microsoft.Insights/components": {"DisableLocalAuth": True},
    "Microsoft.Authorization/locks": {"level": "CanNotDelete"},
}
"""Properties that no parameter changes: encrypted transport, and access by role assignments alone."""


def site(deployment: Deployment) -> dict[str, Any]:
    properties: dict[str, Any] = deployment.the("Microsoft.Web/sites")["properties"]
    return properties


# --- Settings -----------------------------------------------------------------------------------------------------------


def test_each_setting_that_the_code_reads_is_set_and_none_that_nothing_reads(deployment: Deployment) -> None:
    own = frozenset({"ERP_STORAGE"} & set(deployment.settings))
    assert promises.wrong_settings(deployment, own) == set()


def test_the_environment_is_read_by_the_platform_only() -> None:
    reading = tuple(f"leads/platform/{name}.py:" for name in ("settings", "secrets", "machine"))
    elsewhere = [place for place in code.reads_of_the_environment() if not place.startswith(reading)]
    # The command line runs on a person's machine: what it reads there is no setting of the app.
    assert [place for place in elsewhere if not place.startswith("leads/cli/")] == []


def test_no_setting_is_one_that_flex_consumption_refuses(deployment: Deployment) -> None:
    assert set(deployment.settings) & promises.FORBIDDEN_ON_FLEX == set()


def test_the_platforms_settings_and_ours_have_no_name_in_common() -> None:
    assert code.settings() & promises.READ_BY_THE_PLATFORM == set()


def test_no_secret_is_in_a_setting_or_an_output(deployment: Deployment) -> None:
    assert list(promises.secrets_told(deployment)) == []


def test_a_setting_with_a_secret_is_a_reference_to_the_key_vault(production: Deployment) -> None:
    vault = production.the("Microsoft.KeyVault/vaults")["name"]
    assert production.settings["ERP_STORAGE"] == f"@Microsoft.KeyVault(VaultName={vault};SecretName=erp-storage)"
    assert production.settings["LEADS_ALLOWED_SETTINGS"] == "ERP_STORAGE", "offers may name it"
    assert "userAssignedIdentities" in site(production)["keyVaultReferenceIdentity"]


def test_the_publishers_choices_reach_the_app(production: Deployment) -> None:
    assert production.settings["LEADS_NOTIFY_WEBHOOK"] == "keyvault:on-call-channel"
    assert production.settings["LEADS_ALLOWED_NETWORKS"] == "10.1.0.0/16"
    assert production.settings["LEADS_RETENTION_DAYS"] == "30"
    assert production.settings["LEADS_PERSONAL_DATA_OVER_HTTP"] == "true"


def test_what_the_publisher_does_not_choose_is_the_apps_own_default(predicted: Predicted) -> None:
    given = predicted("development").settings
    left_out = read_settings({})
    assert int(given["LEADS_RETENTION_DAYS"]) == left_out.unrouted_retention_days
    assert given["LEADS_PERSONAL_DATA_OVER_HTTP"] == str(left_out.personal_data_over_http).lower()


def test_there_are_threads_for_all_that_an_instance_takes_at_once(deployment: Deployment) -> None:
    threads = int(deployment.settings["PYTHON_THREADPOOL_THREAD_COUNT"])
    http = site(deployment)["functionAppConfig"]["scaleAndConcurrency"]["triggers"]["http"]["perInstanceConcurrency"]
    queues = HOST["extensions"]["queues"]
    assert threads >= max(http, queues["batchSize"] + queues["newBatchThreshold"])


def test_the_app_itself_refuses_every_body_that_is_too_large(deployment: Deployment) -> None:
    """Above the host's limit the sender gets an empty 500, and below the app's own limit a lead would be lost."""
    limit = int(deployment.settings["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"])
    assert set(code.body_limits()) == {"leads/operations/wire.py", "leads/pipeline/intake.py"}
    assert limit > max(code.body_limits().values())
    documented = (ROOT / "docs/reference/configuration.md").read_text()
    assert f"`FUNCTIONS_REQUEST_BODY_SIZE_LIMIT` is `{limit}` bytes" in documented


def test_an_app_on_this_machine_has_the_settings_of_the_host_that_a_deployed_one_has(production: Deployment) -> None:
    example = json.loads((ROOT / "local.settings.example.json").read_text())["Values"]
    for name in ("AzureWebJobsDisableHomepage", "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "PYTHON_THREADPOOL_THREAD_COUNT"):
        assert example[name] == production.settings[name], name


AS_IN_AZURE = {
    "queueServiceUri": "https://stdev.queue.core.windows.net/",
    "tableServiceUri": "https://stdev.table.core.windows.net/",
    "clientId": "44444444-4444-4444-4444-444444444444",
    "LEADS_KEY_VAULT_URI": "https://kv-dev.vault.azure.net/",
}


def test_the_app_reads_the_settings_as_azure_gives_them(deployment: Deployment) -> None:
    given = {
        name: AS_IN_AZURE[name.rpartition("__")[2]] if value.startswith("[") else value
        for name, value in deployment.settings.items()
        if name in code.settings()
    }
    settings = read_settings(given)
    storage = Storage(settings)
    assert storage.queue(LEADS_QUEUE)._client.url == "https://stdev.queue.core.windows.net/leads"
    assert storage.table("LeadLedger").client.url == "https://stdev.table.core.windows.net"
    assert (settings.storage_credential, settings.storage_client_id) == ("managedidentity", AS_IN_AZURE["clientId"])
    assert settings.thread_count == 32


# --- The app ------------------------------------------------------------------------------------------------------------


def test_the_app_runs_on_flex_consumption_with_the_python_of_the_tests(deployment: Deployment) -> None:
    plan = deployment.the("Microsoft.Web/serverfarms")
    assert plan["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    assert site(deployment)["functionAppConfig"]["runtime"] == {"name": "python", "version": "3.13"}
    of_other_plans = {"linuxFxVersion", "pythonVersion", "alwaysOn", "functionAppScaleLimit", "preWarmedInstanceCount"}
    of_other_plans |= {"minimumElasticInstanceCount", "vnetRouteAllEnabled", "use32BitWorkerProcess"}
    assert not of_other_plans & {*site(deployment), *site(deployment)["siteConfig"]}
    assert site(deployment)["siteConfig"].items() >= {"minTlsVersion": "1.2", "ftpsState": "Disabled"}.items()


def test_the_package_comes_from_a_container_that_is_made(deployment: Deployment) -> None:
    storage = site(deployment)["functionAppConfig"]["deployment"]["storage"]
    container = deployment.the("Microsoft.Storage/storageAccounts/blobServices/containers")["name"].rpartition("/")[2]
    assert storage["type"] == "blobContainer"
    assert f"'{container}'" in storage["value"] or storage["value"].endswith(container)
    assert storage["authentication"]["type"] == "UserAssignedIdentity"


def test_transport_is_encrypted_and_access_goes_by_roles(deployment: Deployment) -> None:
    for kind, properties in ALWAYS.items():
        assert deployment.the(kind)["properties"].items() >= properties.items(), kind
    assert "accessPolicies" not in deployment.the("Microsoft.KeyVault/vaults")["properties"]


def test_nobody_publishes_with_a_password(deployment: Deployment) -> None:
    policies = deployment.of_type("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert {policy["name"].rpartition("/")[2]: policy["properties"]["allow"] for policy in policies} == {
        "ftp": False,
        "scm": False,
    }


def test_warm_instances_are_a_choice(predicted: Predicted) -> None:
    def warm(name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = site(predicted(name))["functionAppConfig"]["scaleAndConcurrency"]["alwaysReady"]
        return found

    delivery = {"name": "function:deliver_lead", "instanceCount": 1}
    assert warm("development") == []
    assert warm("second") == [{"name": "http", "instanceCount": 1}, delivery]
    assert warm("production") == [{"name": "http", "instanceCount": 2}, delivery]
    assert delivery["name"] == f"function:{DELIVERY}" and DELIVERY in code.functions()


@pytest.mark.parametrize(
    ("name", "said"), [("development", frozenset()), ("second", frozenset({"intake", "delivery"}))]
)
def test_the_app_and_the_outputs_say_what_is_warm(name: str, said: frozenset[str], predicted: Predicted) -> None:
    deployment = predicted(name)
    assert read_settings({"LEADS_WARM": deployment.settings["LEADS_WARM"]}).warm == said
    assert deployment.outputs["warm"] == deployment.settings["LEADS_WARM"]


def test_the_platform_says_who_has_signed_in_and_the_app_refuses_the_others(predicted: Predicted) -> None:
    def login(name: str) -> list[dict[str, Any]]:
        configs = predicted(name).of_type("Microsoft.Web/sites/config")
        return [config for config in configs if config["name"].endswith("/authsettingsV2")]

    assert login("development") == []
    assert predicted("development").settings["LEADS_SIGN_IN"] == ""
    (config,) = login("production")
    assert predicted("production").settings["LEADS_SIGN_IN"] == "entra"
    asked = config["properties"]["globalValidation"]
    assert asked == {"requireAuthentication": False, "unauthenticatedClientAction": "AllowAnonymous"}
    assert "clientSecretSettingName" not in json.dumps(config)


# --- Storage ------------------------------------------------------------------------------------------------------------


def test_every_queue_and_table_of_the_code_is_made_and_no_other(deployment: Deployment) -> None:
    assert promises.missing_storage(deployment) == set()


def test_every_queue_and_table_that_the_code_opens_is_known() -> None:
    assert set(code.unnamed_storage()) == {
        ("operations/doctor.py", "name"),
        ("destinations/vendors/azure_table/__init__.py", "self.settings.table"),
    }
    assert set(doctor.QUEUES) == code.queues()
    assert {*doctor.TABLES, AzureTableSettings.model_fields["table"].default} == code.tables()


def test_the_account_that_holds_the_leads_cannot_be_deleted_by_mistake(deployment: Deployment) -> None:
    lock = deployment.the("Microsoft.Authorization/locks")
    assert f"{deployment.the('Microsoft.Storage/storageAccounts')['id']}/providers" in lock["id"]


def test_storage_is_in_three_zones_where_that_is_asked_for(predicted: Predicted) -> None:
    def kind(name: str) -> str:
        return str(predicted(name).the("Microsoft.Storage/storageAccounts")["sku"]["name"])

    assert (kind("development"), kind("production")) == ("Standard_LRS", "Standard_ZRS")
    assert "pickZones(" in kind("second"), "left open, it goes by what the region has"


def test_logs_are_written_with_a_login_alone(deployment: Deployment) -> None:
    assert "WorkspaceResourceId" in deployment.the("Microsoft.Insights/components")["properties"]
    assert "Authorization=AAD" in deployment.settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]


def test_what_keeps_something_tells_the_workspace_of_it(deployment: Deployment) -> None:
    told = {
        re.split(r"/providers/Microsoft.Insights/", one["id"])[0]: one["properties"]
        for one in deployment.of_type("Microsoft.Insights/diagnosticSettings")
    }
    services = ("blobServices", "tableServices")
    for kind in ("Microsoft.KeyVault/vaults", *(f"Microsoft.Storage/storageAccounts/{name}" for name in services)):
        assert told.pop(deployment.the(kind)["id"]).keys() == {"workspaceId", "logs"}, (
            "no metrics: no query reads them there"
        )
    assert told == {}


# --- Rights -------------------------------------------------------------------------------------------------------------


def test_the_app_and_the_operator_have_the_rights_that_they_need_and_no_others(deployment: Deployment) -> None:
    assert promises.wrong_rights(deployment) == set()


def test_the_roles_are_those_that_the_documents_ask_for() -> None:
    pages = (ROOT / "docs/reference/configuration.md", ROOT / "docs/how-to/deploy.md")
    documented = " ".join(" ".join(page.read_text() for page in pages).split())
    for _, _, role in promises.RIGHTS:
        assert role in documented, role


# --- Networks -----------------------------------------------------------------------------------------------------------


def test_with_private_endpoints_storage_and_key_vault_are_closed_to_the_internet(production: Deployment) -> None:
    for kind in ("Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults"):
        properties = production.the(kind)["properties"]
        assert properties["publicNetworkAccess"] == "Disabled"
        assert properties["networkAcls"]["defaultAction"] == "Deny"


def test_each_service_that_the_app_uses_has_its_private_endpoint_and_name(production: Deployment) -> None:
    endpoints = production.of_type("Microsoft.Network/privateEndpoints")
    groups = {one["properties"]["privateLinkServiceConnections"][0]["properties"]["groupIds"][0] for one in endpoints}
    assert groups == {"blob", "queue", "table", "vault"}
    zones = {zone["name"] for zone in production.of_type("Microsoft.Network/privateDnsZones")}
    in_this_cloud = "[format('privatelink.%s.{0}', environment().suffixes.storage)]"
    assert zones == {in_this_cloud % group for group in ("blob", "queue", "table")} | {
        "privatelink.vaultcore.azure.net"
    }
    assert len(production.of_type("Microsoft.Network/privateDnsZones/virtualNetworkLinks")) == len(zones)
    assert len(production.of_type("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")) == len(groups)


def test_the_app_leaves_through_its_own_subnet(predicted: Predicted) -> None:
    assert site(predicted("production"))["virtualNetworkSubnetId"].endswith("/subnets/app")
    assert not site(predicted("development")).get("virtualNetworkSubnetId")
    network = predicted("production").the("Microsoft.Network/virtualNetworks")["properties"]
    (app,) = [subnet for subnet in network["subnets"] if subnet["name"] == "app"]
    assert app["properties"]["delegations"][0]["properties"]["serviceName"] == "Microsoft.App/environments"


# --- Environments -------------------------------------------------------------------------------------------------------


def test_every_name_is_one_that_azure_takes(deployment: Deployment) -> None:
    assert promises.badly_named(deployment) == set()


def test_every_resource_with_a_name_of_its_own_has_a_rule_for_it(production: Deployment) -> None:
    inside_another = {"Microsoft.Authorization/roleAssignments", "Microsoft.Authorization/locks"}
    inside_another |= {"Microsoft.Insights/diagnosticSettings", "Microsoft.Network/privateDnsZones"}
    kinds = {one["type"] for one in production.resources if one["type"].count("/") == 1} - inside_another
    assert kinds == promises.NAMES.keys()


def test_two_environments_in_one_subscription_share_nothing(predicted: Predicted) -> None:
    ids = [
        {one["id"].lower() for one in predicted(name).resources} for name in ("production", "second", "short", "long")
    ]
    for number, left in enumerate(ids):
        for right in ids[number + 1 :]:
            assert left & right == set()
    names = [
        {one["name"] for one in predicted(name).resources if one["type"] in promises.UNIQUE_IN_THE_WORLD}
        for name in ("development", "production", "second", "short", "long")
    ]
    assert len(set.union(*names)) == sum(len(found) for found in names)


def test_no_resource_is_in_a_deployment_twice(deployment: Deployment) -> None:
    ids = [one["id"].lower() for one in deployment.resources]
    assert len(ids) == len(set(ids))


def test_everything_is_tagged_with_its_environment(deployment: Deployment) -> None:
    group = deployment.the("Microsoft.Resources/resourceGroups")
    environment = group["tags"]["azd-env-name"]
    assert deployment.the("Microsoft.Web/sites")["tags"] == {"azd-env-name": environment, "azd-service-name": "app"}
    untagged = [one["type"] for one in deployment.resources if one["type"] in promises.NAMES and "tags" not in one]
    assert untagged == []


# --- Outputs ------------------------------------------------------------------------------------------------------------


def test_the_outputs_say_what_to_paste_into_partner_center(deployment: Deployment) -> None:
    app, group = (
        deployment.the("Microsoft.Web/sites")["name"],
        deployment.the("Microsoft.Resources/resourceGroups")["name"],
    )
    assert "/api/leads/PUBLISHER.OFFER?code=KEY" in deployment.outputs["intakeUrl"]
    assert app in deployment.outputs["intakeUrl"]
    command = deployment.outputs["intakeKeyCommand"]
    assert f"--resource-group '{group}' --name {app} --function-name accept_lead" in command
    assert "accept_lead" in code.functions() and "manage" in code.functions()


# --- Proof that the checks find something -------------------------------------------------------------------------------


def test_a_planted_secret_is_found(production: Deployment) -> None:
    (config,) = [one for one in production.of_type("Microsoft.Web/sites/config") if one["name"].endswith("appsettings")]
    secret = "[listKeys('/subscriptions/x', '2025-06-01').keys[0].value]"
    planted = Deployment({"predictedResources": [{**config, "properties": {"LeadsStorage": secret}}], "outputs": {}})
    assert list(promises.secrets_told(planted)) == ["LeadsStorage"]


@pytest.mark.parametrize("name", ["kv--x", "1vault", "kv-", "k" * 25, "ab"])
def test_a_bad_name_is_found(name: str) -> None:
    resource = {"type": "Microsoft.KeyVault/vaults", "name": name}
    assert promises.badly_named(Deployment({"predictedResources": [resource]}))
