// A program that uses HighLevel's SDK for JavaScript as its pages say, told what to do line by line.
//
// Each line of the input is a JSON object with `do`; each gets one line back. SDK_STORE is a folder
// for sessions that several processes share; empty: the SDK's own memory.
'use strict';

const fs = require('fs');
const http = require('http');
const path = require('path');
const readline = require('readline');
const { HighLevel, MemorySessionStorage, SessionStorage } = require('@gohighlevel/api-client');

// The SDK logs to the standard output, where our answers go.
global.console = new console.Console(process.stderr);

const { SDK_BASE_URL, SDK_CLIENT_ID, SDK_CLIENT_SECRET, SDK_STORE } = process.env;
HighLevel.BASE_URL = SDK_BASE_URL;

/**
 * Sessions in files, with the meaning of the SDK's MongoDB storage: a write replaces the session
 * and is seen whole or not at all; the last one stays.
 */
class FolderStorage extends SessionStorage {
  constructor(folder) {
    super();
    this.folder = folder;
    this.written = 0;
  }

  // One app alone uses the folder.
  setClientId() {}

  async init() {
    await fs.promises.mkdir(this.folder, { recursive: true });
  }

  async disconnect() {}

  async createCollection() {}

  async getCollection() {
    return this.folder;
  }

  async setSession(resourceId, session) {
    const whole = { ...session, expire_at: this.calculateExpireAt(session.expires_in) };
    const fresh = path.join(this.folder, `${resourceId}.${process.pid}.${this.written++}`);
    await fs.promises.writeFile(fresh, JSON.stringify(whole));
    await fs.promises.rename(fresh, this.file(resourceId));
  }

  async getSession(resourceId) {
    try {
      return JSON.parse(await fs.promises.readFile(this.file(resourceId), 'utf8'));
    } catch (error) {
      if (error.code === 'ENOENT') return null;
      throw error;
    }
  }

  async deleteSession(resourceId) {
    await fs.promises.rm(this.file(resourceId), { force: true });
  }

  async getAccessToken(resourceId) {
    return (await this.getSession(resourceId))?.access_token ?? null;
  }

  async getRefreshToken(resourceId) {
    return (await this.getSession(resourceId))?.refresh_token ?? null;
  }

  file(resourceId) {
    return path.join(this.folder, `${resourceId}.json`);
  }
}

const storage = SDK_STORE ? new FolderStorage(SDK_STORE) : new MemorySessionStorage();
const own = {
  clientId: SDK_CLIENT_ID,
  clientSecret: SDK_CLIENT_SECRET,
  sessionStorage: storage,
};

let sdk = new HighLevel(own);

/** "ok" or the error in the SDK's words. */
async function getLocation(client, locationId) {
  try {
    const answer = await client.locations.getLocation(
      { locationId },
      { preferredTokenType: 'location' }
    );
    return answer.location.id === locationId ? 'ok' : 'another location';
  } catch (error) {
    return `${error.constructor.name}: ${error.message}`;
  }
}

const orders = {
  async install({ code }) {
    const tokens = await sdk.oauth.getAccessToken({
      client_id: SDK_CLIENT_ID,
      client_secret: SDK_CLIENT_SECRET,
      grant_type: 'authorization_code',
      code,
    });
    return orders.store({ resource_id: tokens.locationId || tokens.companyId, session: tokens });
  },

  async mint({ company_id, location_id }) {
    const tokens = await sdk.oauth.getLocationAccessToken({
      companyId: company_id,
      locationId: location_id,
    });
    return orders.store({ resource_id: location_id, session: tokens });
  },

  async store({ resource_id, session }) {
    await storage.setSession(resource_id, session);
    return { session };
  },

  async has_session({ resource_id }) {
    return { stored: (await storage.getSession(resource_id)) !== null };
  },

  async call({ location_id, callers, at }) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, at * 1000 - Date.now())));
    const calls = Array.from({ length: callers }, () => getLocation(sdk, location_id));
    return { outcomes: await Promise.all(calls) };
  },

  async call_with({ token, location_id }) {
    const client = new HighLevel({
      clientId: 'made-up',
      clientSecret: 'made-up',
      locationAccessToken: token,
    });
    return { outcomes: [await getLocation(client, location_id)] };
  },

  /** Receive events as an application would that mounts the SDK's middleware. */
  async listen({ public_key }) {
    sdk = new HighLevel({ ...own, webhookPublicKey: public_key });
    const middleware = sdk.webhooks.subscribe();
    const server = http.createServer(async (request, response) => {
      const parts = [];
      for await (const part of request) parts.push(part);
      request.rawBody = Buffer.concat(parts);
      request.body = JSON.parse(request.rawBody.toString('utf8'));
      await middleware(request, response, () => response.end());
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { url: `http://127.0.0.1:${server.address().port}/` };
  },
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    const answer = await orders[order.do](order);
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
}

main();
