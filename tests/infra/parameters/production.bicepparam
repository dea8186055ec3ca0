using '../../../infra/main.bicep'

param environmentName = 'prod'
param location = 'westeurope'
param alwaysReadyInstances = 2
param maximumInstanceCount = 100
param zoneRedundantApp = true
param zoneRedundantStorage = true
param privateEndpoints = true
param manageClientId = '33333333-3333-3333-3333-333333333333'
param alertEmails = ['on-call@example.com', 'sales@example.com']
param refusalsTolerated = 3
param notifyWebhook = 'keyvault:on-call-channel'
param allowedNetworks = '10.1.0.0/16'
param unroutedRetentionDays = 30
param personalDataOverHttp = true
param keyVaultSettings = { ERP_STORAGE: 'erp-storage' }
param operatorObjectId = '22222222-2222-2222-2222-222222222222'
