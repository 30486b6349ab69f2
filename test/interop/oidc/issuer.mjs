// An OpenID provider with two tenants, acme and globex, each under a path of
// its own: node issuer.mjs. It takes a free port of 127.0.0.1, prints its URL as
// the first line, and ends when its input does, so that it never outlives the
// test that started it.
import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import Provider, { errors } from 'oidc-provider';

const client = {
  client_id: 'svc',
  client_secret: 'interop-only-interop-only-interop',
  grant_types: ['client_credentials', 'urn:openid:params:grant-type:ciba'],
  redirect_uris: [],
  response_types: [],
  backchannel_token_delivery_mode: 'poll',
};

const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = (namedCurve) => generateKeyPairSync('ec', { namedCurve });
const ed25519 = () => generateKeyPairSync('ed25519');

const jwk = (pair, fields) => ({ ...pair.privateKey.export({ format: 'jwk' }), use: 'sig', ...fields });

// acme names an algorithm for each key, as most providers do, and has one key
// of an algorithm that a gateway may not know. globex leaves it to the key's type.
const keys = {
  acme: () => [
    jwk(rsa(), { alg: 'PS256' }),
    jwk(rsa(), { alg: 'RS256' }),
    jwk(ec('P-256'), { alg: 'ES256' }),
    jwk(ec('P-384'), { alg: 'ES384' }),
    jwk(ed25519(), { alg: 'EdDSA' }),
  ],
  globex: () => [jwk(rsa()), jwk(ec('P-256')), jwk(ec('P-384')), jwk(ed25519())],
};

// What a resource ends in says what its tokens are: https://api.acme.test/ES256
// are signed with ES256. All of a tenant's resources are one audience.
const signings = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'EdDSA', 'Ed25519', 'PS256'];
const sharedSecret = Buffer.from('interop-only-interop-only-secret');

const formats = {
  ...Object.fromEntries(signings.map((alg) => [alg, { accessTokenFormat: 'jwt', jwt: { sign: { alg } } }])),
  HS256: { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'HS256', key: sharedSecret } } },
  encrypted: {
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: 'RS256' }, encrypt: { alg: 'dir', enc: 'A128CBC-HS256', key: sharedSecret } },
  },
  opaque: { accessTokenFormat: 'opaque' },
  elsewhere: { accessTokenFormat: 'jwt', audience: 'https://elsewhere.test' },
};

function resourceServer(tenant, resource) {
  const audience = `https://api.${tenant}.test`;
  const format = formats[resource.slice(audience.length + 1)];
  if (!resource.startsWith(`${audience}/`) || !format) throw new errors.InvalidTarget();
  return { audience, scope: 'read:posts write:posts', accessTokenTTL: 120, ...format };
}

// The claims of USSO, and the same facts where Keycloak and others put them.
const claims = (tenant) => ({
  tenant_id: tenant,
  workspace_id: `ws_${tenant}`,
  roles: ['editor', 'auditor'],
  scopes: ['read:posts'],
  realm_access: { roles: ['realm-admin'] },
  resource_access: { 'a/b': { roles: ['slashed'] } },
  org: { id: `org_${tenant}`, workspace: `desk_${tenant}` },
});

// A CIBA request is approved at once: the shortest way to a real ID token that
// needs no browser.
const ciba = (provider) => ({
  enabled: true,
  deliveryModes: ['poll'],
  processLoginHint: (ctx, hint) => hint,
  validateBindingMessage: () => {},
  validateRequestContext: () => {},
  verifyUserCode: () => {},
  async triggerAuthenticationDevice(ctx, request, account) {
    const { Grant } = provider();
    const grant = new Grant({ clientId: client.client_id, accountId: account.accountId });
    grant.addOIDCScope('openid');
    await grant.save();
    await provider().backchannelResult(request, grant);
  },
});

function tenantProvider(issuer, tenant) {
  const provider = new Provider(issuer, {
    jwks: { keys: keys[tenant]() },
    clients: [client],
    cookies: { keys: ['interop'] },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: () => claims(tenant),
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    clientDefaults: { id_token_signed_response_alg: 'RS256' },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      ciba: ciba(() => provider),
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => resourceServer(tenant, resource),
      },
    },
  });
  provider.on('server_error', (ctx, err) => console.error(`${tenant}:`, err));
  return provider.callback();
}

const server = http.createServer((req, res) => {
  const tenant = Object.keys(keys).find((name) => req.url.startsWith(`/tenants/${name}/`));
  if (!tenant) {
    res.writeHead(404).end();
    return;
  }
  // The provider builds its URLs from originalUrl, and routes by url.
  req.originalUrl = req.url;
  req.url = req.url.slice(`/tenants/${tenant}`.length);
  tenants[tenant](req, res);
});

let tenants;
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  tenants = Object.fromEntries(Object.keys(keys).map((name) => [name, tenantProvider(`${url}/tenants/${name}`, name)]));
  console.log(url);
});

process.stdin.resume().on('end', () => process.exit(0));
