// What azd and the pipeline deploy with. Each value is an environment variable: `azd env set NAME VALUE`, or a variable of
// the pipeline; what it means stands in main.bicep.
using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME')
param location = readEnvironmentVariable('AZURE_LOCATION')
param alwaysReadyInstances = int(readEnvironmentVariable('LEADS_ALWAYS_READY', '1'))
param alwaysReadyDeliveryInstances = int(readEnvironmentVariable('LEADS_ALWAYS_READY_DELIVERY', '1'))
param instanceMemoryMB = any(int(readEnvironmentVariable('LEADS_INSTANCE_MEMORY', '512')))
param maximumInstanceCount = int(readEnvironmentVariable('LEADS_MAXIMUM_INSTANCES', '40'))
param zoneRedundantApp = bool(readEnvironmentVariable('LEADS_ZONE_REDUNDANT_APP', 'false'))
param privateEndpoints = bool(readEnvironmentVariable('LEADS_PRIVATE_ENDPOINTS', 'false'))
param manageClientId = readEnvironmentVariable('LEADS_MANAGE_CLIENT_ID', '')
param alerts = bool(readEnvironmentVariable('LEADS_ALERTS', 'true'))
param alertEmails = filter(
  map(split(readEnvironmentVariable('LEADS_ALERT_EMAILS', ''), ','), email => trim(email)),
  email => !empty(email)
)
param refusalsTolerated = int(readEnvironmentVariable('LEADS_REFUSALS_TOLERATED', '0'))
param notifyWebhook = readEnvironmentVariable('LEADS_NOTIFY_WEBHOOK', '')
param allowedNetworks = readEnvironmentVariable('LEADS_ALLOWED_NETWORKS', '')
param caBundle = readEnvironmentVariable('LEADS_CA_BUNDLE', '')
param unroutedRetentionDays = int(readEnvironmentVariable('LEADS_RETENTION_DAYS', '180'))
param personalDataOverHttp = bool(readEnvironmentVariable('LEADS_PERSONAL_DATA_OVER_HTTP', 'false'))
param keyVaultSettings = json(readEnvironmentVariable('LEADS_KEY_VAULT_SETTINGS', '{}'))
param operatorObjectId = readEnvironmentVariable('LEADS_OPERATOR_ID', '')
