// The function app on Flex Consumption: one plan, one app, no secret among its settings.

param name string
param planName string
param location string
param tags object
param identityId string
param identityClientId string
param blobEndpoint string
param queueEndpoint string
param tableEndpoint string
param packageContainer string
param vaultName string
param vaultUri string
param insightsName string
param subnetId string
param alwaysReadyInstances int
param alwaysReadyDeliveryInstances int
param instanceMemoryMB int
param maximumInstanceCount int
param zoneRedundant bool
param manageClientId string
param notifyWebhook string
param allowedNetworks string
param caBundle string
param unroutedRetentionDays int
param personalDataOverHttp bool
param keyVaultSettings object

// Python's default on this plan is one request at a time. The intake computes for a few milliseconds and then waits for one write
// to a queue. So 16 requests keep a core busy, and no sender waits for the processor.
var httpConcurrency = 16

// The host reads the whole body into memory before it checks the key, and answers 500 above this limit. The limit is higher than
// that of any function, so that the app itself can answer 413.
var largestBody = 2 * 1024 * 1024

// Threads for everything that an instance handles at once: 16 requests, or the 24 messages that host.json allows.
var threads = 32

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true, zoneRedundant: zoneRedundant }
}

// Each group of functions scales separately, and so needs its own warm instance: https://github.com/Azure/Azure-Functions/issues/2581
var alwaysReady = filter(
  [
    { name: 'http', instanceCount: alwaysReadyInstances }
    { name: 'function:deliver_lead', instanceCount: alwaysReadyDeliveryInstances }
  ],
  group => group.instanceCount > 0
)
var warm = join(map(alwaysReady, group => group.name == 'http' ? 'intake' : 'delivery'), ',')

var hostSettings = {
  AzureWebJobsStorage__blobServiceUri: blobEndpoint
  AzureWebJobsStorage__queueServiceUri: queueEndpoint
  AzureWebJobsStorage__tableServiceUri: tableEndpoint
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  AzureWebJobsDisableHomepage: 'true'
  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: string(largestBody)
}

var ourSettings = {
  LeadsStorage__queueServiceUri: queueEndpoint
  LeadsStorage__tableServiceUri: tableEndpoint
  LeadsStorage__credential: 'managedidentity'
  LeadsStorage__clientId: identityClientId
  LEADS_KEY_VAULT_URI: vaultUri
  LEADS_NOTIFY_WEBHOOK: notifyWebhook
  LEADS_ALLOWED_NETWORKS: allowedNetworks
  LEADS_ALLOWED_SETTINGS: join(objectKeys(keyVaultSettings), ',')
  LEADS_CA_BUNDLE: caBundle
  LEADS_WARM: empty(warm) ? 'none' : warm
  LEADS_RETENTION_DAYS: string(unroutedRetentionDays)
  LEADS_SIGN_IN: empty(manageClientId) ? '' : 'entra'
  LEADS_PERSONAL_DATA_OVER_HTTP: personalDataOverHttp ? 'true' : 'false'
  PYTHON_THREADPOOL_THREAD_COUNT: string(threads)
}

var references = mapValues(
  keyVaultSettings,
  secret => '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=${secret})'
)

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  // azd finds the app to deploy to by this tag.
  tags: union(tags, { 'azd-service-name': 'app' })
  kind: 'functionapp,linux'
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${blobEndpoint}${packageContainer}'
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identityId }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReady
        triggers: { http: { perInstanceConcurrency: httpConcurrency } }
      }
      runtime: { name: 'python', version: '3.13' }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
    }
  }
}

resource settings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'appsettings'
  properties: union(references, hostSettings, ourSettings)
  // The app trusts the platform's headers about the signed-in user. So it must do so only if the platform checks sign-ins.
  dependsOn: [login]
}

resource ftpCredentials 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

resource scmCredentials 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

// The platform checks sign-ins and lets all requests through; the app refuses users who have not signed in. Microsoft's sender
// cannot sign in, and a path excluded from the platform's check could be used to avoid it. The app answers 401 to a program; a browser
// signs in at /.auth/login/aad. The platform uses an ID token (the implicit flow), so there is no client secret to renew.
resource login 'Microsoft.Web/sites/config@2025-03-01' = if (!empty(manageClientId)) {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: { enabled: true }
    globalValidation: {
      requireAuthentication: false
      unauthenticatedClientAction: 'AllowAnonymous'
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: manageClientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
        }
        validation: { allowedAudiences: [manageClientId, 'api://${manageClientId}'] }
      }
    }
    login: { tokenStore: { enabled: false } }
  }
}

output warm string = empty(warm) ? 'none' : warm
output id string = app.id
output name string = app.name
output hostName string = app.properties.defaultHostName
