// The app's network: outbound traffic uses one subnet, and storage and Key Vault are in the other.

param name string
param location string
param tags object
param storageName string
param vaultName string

// 10.91.0.0/24 may be in use elsewhere, unless you peer this network.
var endpoints = [
  { group: 'blob', resource: storage.id, zone: 'privatelink.blob.${environment().suffixes.storage}' }
  { group: 'queue', resource: storage.id, zone: 'privatelink.queue.${environment().suffixes.storage}' }
  { group: 'table', resource: storage.id, zone: 'privatelink.table.${environment().suffixes.storage}' }
  { group: 'vault', resource: vault.id, zone: 'privatelink.vaultcore.azure.net' }
]

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource network 'Microsoft.Network/virtualNetworks@2024-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.91.0.0/24'] }
    subnets: [
      {
        name: 'app'
        properties: {
          // Flex Consumption needs a /27 or larger; a larger subnet allows more instances.
          addressPrefix: '10.91.0.0/25'
          delegations: [{ name: 'flex', properties: { serviceName: 'Microsoft.App/environments' } }]
        }
      }
      {
        name: 'endpoints'
        properties: { addressPrefix: '10.91.0.128/27', privateEndpointNetworkPolicies: 'Enabled' }
      }
    ]
  }

  resource appSubnet 'subnets' existing = { name: 'app' }
  resource endpointSubnet 'subnets' existing = { name: 'endpoints' }
}

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for endpoint in endpoints: {
    name: endpoint.zone
    location: 'global'
    tags: tags
  }
]

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (endpoint, i) in endpoints: {
    parent: zone[i]
    name: name
    location: 'global'
    tags: tags
    properties: { virtualNetwork: { id: network.id }, registrationEnabled: false }
  }
]

resource privateEndpoint 'Microsoft.Network/privateEndpoints@2024-07-01' = [
  for endpoint in endpoints: {
    name: 'pep-${endpoint.group}-${name}'
    location: location
    tags: tags
    properties: {
      subnet: { id: network::endpointSubnet.id }
      privateLinkServiceConnections: [
        {
          name: endpoint.group
          properties: { privateLinkServiceId: endpoint.resource, groupIds: [endpoint.group] }
        }
      ]
    }
  }
]

resource zoneGroup 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01' = [
  for (endpoint, i) in endpoints: {
    parent: privateEndpoint[i]
    name: 'default'
    properties: { privateDnsZoneConfigs: [{ name: endpoint.group, properties: { privateDnsZoneId: zone[i].id } }] }
  }
]

output appSubnetId string = network::appSubnet.id
