// Everything the app needs in Azure, in one resource group. Only raw resources, so that it compiles without a registry;
// the same resources as Azure Verified Modules: https://aka.ms/avm.
targetScope = 'subscription'

metadata description = 'Takes Microsoft Marketplace leads over HTTPS and delivers each to its CRM.'

@description('The name of the environment, for example dev or prod. All resources carry it. Two environments share nothing.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('The region. It must offer Flex Consumption: az functionapp list-flexconsumption-locations')
@minLength(1)
param location string

@description('The resource group. The deployment creates it if it does not exist.')
@minLength(1)
@maxLength(90)
param resourceGroupName string = 'rg-${environmentName}-leads'

@description('Instances that are always warm for the intake. One costs about 5 USD a month at 512 MB. Microsoft does not document how long the marketplace waits for an answer, or that it sends a lead again, so avoid a cold start. Use 0 only for tests.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 1

@description('Instances that are always warm for the delivery, at the same price. Without one, a lead that follows half a minute of quiet waits until Azure notices its message and starts an instance: seconds, or more.')
@minValue(0)
@maxValue(20)
param alwaysReadyDeliveryInstances int = 1

@description('Memory of an instance. With 2048 MB comes a whole core; with 512 MB comes a quarter, and a cold start takes four times as long.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 512

// Microsoft Learn, "Azure Functions hosting options", section "Scale".
@description('The limit of on-demand instances for each group of functions: the HTTP functions together, deliver_lead, and watch. Always-ready instances come on top. The limit bounds neither the whole app nor the cost of a flood of requests.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

// Microsoft Learn, "Reliability in Azure Functions".
@description('Instances in more than one zone. Azure then keeps at least two always-ready instances of each group that has one, and bills them.')
param zoneRedundantApp bool = false

@description('Storage in three zones of the region (ZRS) instead of one (LRS). The default is ZRS if the region has zones.')
param zoneRedundantStorage bool?

@description('Storage and Key Vault are reachable only over private endpoints, from a virtual network for the app. The intake stays public, because Microsoft posts to it.')
param privateEndpoints bool = false

@description('The client ID of an app registration, if people and programs sign in with Entra ID. Users with one of its app roles need no key. Users with a key must also sign in. Blank: keys alone.')
param manageClientId string = ''

@description('Alert rules for every way to lose a lead, and an availability test: about 7 USD a month.')
param alerts bool = true

@description('Who gets an e-mail for each alert.')
param alertEmails string[] = []

@description('How many requests may be refused with 401, 403 or 404 in 15 minutes before an alert. Raise it if internet scanners disturb you.')
@minValue(0)
param refusalsTolerated int = 0

@description('A secret reference (keyvault:NAME) to the address of a Teams, Slack or other webhook that gets the alarms.')
param notifyWebhook string = ''

@description('Private networks to which leads may be sent, such as 10.1.0.0/16.')
param allowedNetworks string = ''

@description('A file of certificates (PEM) in the package to trust instead of the public authorities.')
param caBundle string = ''

@description('Days until leads without an offer, and unreadable bodies, lose their personal data; 0 = never. The policies of an offer decide for its leads.')
@minValue(0)
param unroutedRetentionDays int = 180

@description('Lets users with the key of the function manage, or with the app role Leads.Personal, read what customers said. Erasing works without it.')
param personalDataOverHttp bool = false

@description('App settings that hold secrets for references env:NAME: the name of each setting, and the name of its secret in the Key Vault. The next deployment removes settings that you made by hand.')
param keyVaultSettings object = {}

@description('How many days logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('The object ID in Entra ID of the person who gets the rights to use the command line and to store secrets. Blank: whoever deploys.')
param operatorObjectId string = ''

// Names of Key Vaults and storage accounts must be short, have few allowed characters, and are globally unique.
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
  // The app cannot start without its roles, and would retry for minutes.
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

@description('The steps of a lead that have a warm instance. leads status shows what this means for its time.')
output warm string = app.outputs.warm

@description('The name of the app, for leads login and leads --app.')
output appUrl string = 'https://${app.outputs.hostName}'
output appName string = app.outputs.name
output resourceGroupName string = group.name
output storageAccountName string = storage.outputs.name
output keyVaultName string = vault.outputs.name
output AZURE_RESOURCE_GROUP string = group.name
