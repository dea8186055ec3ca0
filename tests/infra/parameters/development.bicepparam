using '../../../infra/main.bicep'

param environmentName = 'dev'
param location = 'westeurope'
param alwaysReadyInstances = 0
param alwaysReadyDeliveryInstances = 0
param zoneRedundantStorage = false
param alerts = false
param operatorObjectId = '22222222-2222-2222-2222-222222222222'
