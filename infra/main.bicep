// Everything the app needs in Azure, in one resource group. Only raw resources, so that it compiles without a registry;
// the same resources as Azure Verified Modules: https://aka.ms/avm.
targetScope = 'subscription'

metadata description = 'Takes Microsoft Marketplace leads over HTTPS and delivers each to its CRM.'

@description('What everything is named after, for instance dev or prod. Two environments share nothing.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('The region. It has to offer Flex Consumption: az functionapp list-flexconsumption-locations')
@minLength(1)
param location string

@description('The resource group, which is made if it is missing.')
@minLength(1)
@maxLength(90)
param resourceGroupName string = 'rg-${environmentName}-leads'

@description('Instances that are always warm for the intake. One costs about 5 USD a month at 512 MB. Nobody knows how long the marketplace waits for an answer, and it may not ask twice, so a cold start is worth avoiding. 0 for an environment that only tests.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 1

@description('Instances that are always warm for the delivery, at the same price. Without one the first lead after half a minute waits until Azure has noticed its message and started an instance: seconds, or more.')
@minValue(0)
@maxValue(20)
param alwaysReadyDeliveryInstances int = 1

@description('Memory of an instance. 2048 MB come with a whole core; 512 MB with a quarter of one, on which a cold start takes four times as long.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 512

// Microsoft Learn, "Azure Functions hosting options", section "Scale".
@description('Most on-demand instances of each group of functions: the HTTP functions together, deliver_lead, and watch. Always-ready instances come on top. It bounds neither the app as a whole nor what a flood of requests can cost.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

// Microsoft Learn, "Reliability in Azure Functions".
@description('Instances in more than one zone. Azure then keeps at least two always-ready instances of each group that has one, and bills them.')
param zoneRedundantApp bool = false

@description('Storage in three zones of the region (ZRS) instead of one (LRS). By default wherever the region has zones.')
param zoneRedundantStorage bool?

@description('Storage and Key Vault are reached over private endpoints alone, and the app over a virtual network of its own. The intake stays public, for Microsoft posts to it.')
param privateEndpoints bool = false

@description('The client id of an app registration, if people and programs sign in with Entra ID. With an app role of it they need no key; whoever has a key has to sign in as well. Blank: keys alone.')
param manageClientId string = ''

@description('Alert rules on every way to lose a lead and an availability test, about 7 USD a month.')
param alerts bool = true

@description('Who gets an e-mail for each alert.')
param alertEmails string[] = []

@description('Requests in 15 minutes that may be refused with 401, 403 or 404 before an alert says so. Raise it where scanners of the internet disturb you.')
@minValue(0)
param refusalsTolerated int = 0

@description('A secret reference (keyvault:NAME) to the address of a Teams, Slack or other webhook that gets the alarms.')
param notifyWebhook string = ''

@description('Networks that are not public to which leads may be sent all the same, such as 10.1.0.0/16.')
param allowedNetworks string = ''

@description('A file of certificates (PEM) in the package to trust instead of the public authorities.')
param caBundle string = ''

@description('Days after which leads without an offer, and bodies that cannot be read, lose their personal data; 0 = never. Other leads go by the policies of their offer.')
@minValue(0)
param unroutedRetentionDays int = 180

@description('Whoever has the key of the function manage, or the app role Leads.Personal, can read what customers said. Erasing works without it.')
param personalDataOverHttp bool = false

@description('App settings that hold secrets, for references env:NAME, which may read these: the name of the setting, and the name of its secret in the Key Vault. A setting that is made by hand is gone with the next deployment.')
param keyVaultSettings object = {}

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('Who gets the rights to work with the command line and to store secrets: an object id of Entra ID. Blank: whoever deploys.')
param operatorObjectId string = ''

// Names of Key Vaults and storage accounts are short, know few characters, and are unique in the whole world.
var letters = filter(
  map(range(0, length(environmentName)), i => toLower(substring(environmentName, i, 1))),
  character => contains('abcdefghijklmnopqrstuvwxyz0123456789', character)
)
var plain = empty(letters) ? 'env' : join(letters, '')
var token = uniqueString(subscription().id, resourceGroupName, toLower(environmentName), location)
var names = {
  identity: 'id-${take(plain, 20)}-${token}'
  storage: 'st${take(plain, 9)}${token}'
  vault: 'kv-${take(plain, 7)}-${token}'
  workspace: 'log-${take(plain, 20)}-${token}'
  insights: 'appi-${take(plain, 20)}-${token}'
  plan: 'plan-${take(plain, 20)}-${token}'
  app: 'func-${take(plain, 20)}-${token}'
  network: 'vnet-${take(plain, 20)}-${token}'
  alerts: 'alert-${take(plain, 20)}-${token}'
  workbook: guid(subscription().id, resourceGroupName, token)
}
var tags = { 'azd-env-name': environmentName }

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: resourceGroupName
  location: location
  tags: tags
}

module identity 'identity.bicep' = {
  scope: group
  params: { name: names.identity, location: location, tags: tags }
}

module monitoring 'monitoring.bicep' = {
  scope: group
  params: {
    workspaceName: names.workspace
    insightsName: names.insights
    location: location
    tags: tags
    retentionDays: logRetentionDays
  }
}

module storage 'storage.bicep' = {
  scope: group
  params: {
    name: names.storage
    location: location
    tags: tags
    zoneRedundant: zoneRedundantStorage ?? !empty(pickZones('Microsoft.Compute', 'virtualMachines', location))
    isPrivate: privateEndpoints
    workspaceId: monitoring.outputs.workspaceId
  }
}

module vault 'vault.bicep' = {
  scope: group
  params: {
    name: names.vault
    location: location
    tags: tags
    isPrivate: privateEndpoints
    workspaceId: monitoring.outputs.workspaceId
  }
}

module network 'network.bicep' = if (privateEndpoints) {
  scope: group
  params: {
    name: names.network
    location: location
    tags: tags
    storageName: storage.outputs.name
    vaultName: vault.outputs.name
  }
}

module rbac 'rbac.bicep' = {
  scope: group
  params: {
    storageName: storage.outputs.name
    vaultName: vault.outputs.name
    insightsName: monitoring.outputs.insightsName
    appPrincipalId: identity.outputs.principalId
    operatorObjectId: empty(operatorObjectId) ? deployer().objectId : operatorObjectId
  }
}

module app 'app.bicep' = {
  scope: group
  params: {
    name: names.app
    planName: names.plan
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    blobEndpoint: storage.outputs.blobEndpoint
    queueEndpoint: storage.outputs.queueEndpoint
    tableEndpoint: storage.outputs.tableEndpoint
    packageContainer: storage.outputs.packageContainer
    vaultName: vault.outputs.name
    vaultUri: vault.outputs.uri
    insightsName: monitoring.outputs.insightsName
    subnetId: network.?outputs.appSubnetId ?? ''
    alwaysReadyInstances: alwaysReadyInstances
    alwaysReadyDeliveryInstances: alwaysReadyDeliveryInstances
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    zoneRedundant: zoneRedundantApp
    manageClientId: manageClientId
    notifyWebhook: notifyWebhook
    allowedNetworks: allowedNetworks
    caBundle: caBundle
    unroutedRetentionDays: unroutedRetentionDays
    personalDataOverHttp: personalDataOverHttp
    keyVaultSettings: keyVaultSettings
  }
  // Without its roles the app could not start, and would try for minutes.
  dependsOn: [rbac]
}

module alertRules 'alerts.bicep' = if (alerts) {
  scope: group
  params: {
    name: names.alerts
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    insightsId: monitoring.outputs.insightsId
    appId: app.outputs.id
    hostName: app.outputs.hostName
    storageId: storage.outputs.id
    emails: alertEmails
    refusalsTolerated: refusalsTolerated
  }
}

module workbook 'workbook.bicep' = {
  scope: group
  params: {
    name: names.workbook
    title: 'Marketplace leads (${environmentName})'
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
  }
}

@description('The address for Partner Center; put the offer and the key in: PUBLISHER.OFFER?code=KEY')
output intakeUrl string = 'https://${app.outputs.hostName}/api/leads/PUBLISHER.OFFER?code=KEY'

@description('Prints the key of the intake, which opens nothing else.')
output intakeKeyCommand string = 'az functionapp function keys list --subscription ${subscription().subscriptionId} --resource-group \'${group.name}\' --name ${app.outputs.name} --function-name accept_lead --query default --output tsv'

@description('Prints the key of the function manage, an administrator\'s.')
output manageKeyCommand string = 'az functionapp function keys list --subscription ${subscription().subscriptionId} --resource-group \'${group.name}\' --name ${app.outputs.name} --function-name manage --query default --output tsv'

@description('What of a lead\'s way has a warm instance; python -m leads status says what that means for its time.')
output warm string = app.outputs.warm

@description('For python -m leads --app.')
output appUrl string = 'https://${app.outputs.hostName}'
output appName string = app.outputs.name
output resourceGroupName string = group.name
output storageAccountName string = storage.outputs.name
output keyVaultName string = vault.outputs.name
output AZURE_RESOURCE_GROUP string = group.name
