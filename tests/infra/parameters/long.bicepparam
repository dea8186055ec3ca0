using '../../../infra/main.bicep'

param environmentName = 'Contoso.EMEA-(Production)_of_the_Second_Half_of_the_Year--2026-x'
param location = 'germanywestcentral'
param zoneRedundantStorage = true
param privateEndpoints = true
param alertEmails = ['on-call@example.com']
param operatorObjectId = '22222222-2222-2222-2222-222222222222'
