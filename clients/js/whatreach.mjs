// A client for WhatReach: valid HighLevel access tokens, and nothing else to think about.
//
// One file without dependencies; copy it into your project. Node 18 or newer.
//
//   const whatreach = new WhatReach('https://whatreach.example.com', 'wr_…');
//   const token = await whatreach.token(installId);
//   await fetch(url, { headers: { Authorization: `Bearer ${token}`, Version: '2021-07-28' } });
//
// A token is kept in memory until little of it is left; callers at the same moment share one
// request. When HighLevel says 401 to one all the same, call forget(installId, token) and ask
// again, once.

// After these a repeat may help; everything else says the same again.
const PASSING = [429, 502, 503, 504];
const PAUSE_MS = 1000;
// A token of which less is left than was asked for: HighLevel is away, so look again soon.
const LOOK_AGAIN_MS = 30_000;

/**
 * WhatReach has no token to give, or did not answer.
 * `code`: what the answer calls it, such as "needs_reconnect", or "not_reached"; `whoActs`: you,
 * client, highlevel or operator; `status`: 0 when there was no answer.
 */
export class WhatReachError extends Error {
  constructor(code, details, { status = 0, whoActs = 'operator', retryAfterMs = null } = {}) {
    super(`${code}: ${details}`);
    this.name = 'WhatReachError';
    this.code = code;
    this.details = details;
    this.status = status;
    this.whoActs = whoActs;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether asking again later may help without anybody doing anything. */
  get mayPass() {
    return this.status === 0 || PASSING.includes(this.status);
  }
}

export class WhatReach {
  #baseUrl;
  #key;
  #options;
  #tokens = new Map();
  #asking = new Map();

  /**
   * @param {string} baseUrl
   * @param {string} key
   * @param {{minValidForS?: number, timeoutMs?: number, patienceMs?: number}} [options]
   *   minValidForS: how long a token must be good for when you get it; timeoutMs: for one answer,
   *   which may wait for HighLevel; patienceMs: how long passing faults are waited out.
   */
  constructor(baseUrl, key, { minValidForS = 300, timeoutMs = 35_000, patienceMs = 20_000 } = {}) {
    this.#baseUrl = baseUrl.replace(/\/+$/, '');
    this.#key = key;
    this.#options = { minValidForS, timeoutMs, patienceMs };
  }

  /**
   * A valid access token of the install.
   * @param {string} installId
   * @returns {Promise<string>} rejects with WhatReachError
   */
  async token(installId) {
    const known = this.#tokens.get(installId);
    if (known && performance.now() < known.goodUntil) return known.token;
    if (!this.#asking.has(installId)) {
      const asked = this.#ask(installId).finally(() => this.#asking.delete(installId));
      this.#asking.set(installId, asked);
    }
    return this.#asking.get(installId);
  }

  /** Do not give this token again; a newer one that was got meanwhile stays. */
  forget(installId, token) {
    if (this.#tokens.get(installId)?.token === token) this.#tokens.delete(installId);
  }

  /** State, cause, expiry … of one install. */
  status(installId) {
    return this.#call('GET', `/app/status/${encodeURIComponent(installId)}/`);
  }

  /** All installs that the key may see. Filters: state, agency, q, limit. */
  async *installs(filters = {}) {
    let cursor = {};
    for (;;) {
      const query = new URLSearchParams({ ...filters, ...cursor });
      const page = await this.#call('GET', `/app/list/?${query}`);
      yield* page.integrations;
      if (!page.next_cursor) return;
      cursor = { cursor: page.next_cursor };
    }
  }

  /** Renew the install's token now, which is rarely needed. */
  async refresh(installId) {
    const answer = await this.#call('POST', `/app/refresh/${encodeURIComponent(installId)}/`);
    this.#tokens.delete(installId);
    return answer;
  }

  async #ask(installId) {
    const askedAt = performance.now();
    const { minValidForS } = this.#options;
    const path = `/app/get-token/${encodeURIComponent(installId)}/?min_valid_for=${minValidForS}`;
    const answer = await this.#call('GET', path);
    const lifeMs = answer.expires_in * 1000;
    const keptMs = lifeMs - minValidForS * 1000;
    // By our own clock from the asking on: it need not agree with the server's.
    const goodForMs = keptMs > 0 ? keptMs : Math.min(LOOK_AGAIN_MS, lifeMs / 2);
    this.#tokens.set(installId, { token: answer.access_token, goodUntil: askedAt + goodForMs });
    return answer.access_token;
  }

  /** Repeat while the fault may pass and there is patience left. */
  async #call(method, path) {
    const giveUpAt = performance.now() + this.#options.patienceMs;
    for (let pauseMs = PAUSE_MS; ; pauseMs *= 2) {
      try {
        return await this.#callOnce(method, path);
      } catch (error) {
        if (!(error instanceof WhatReachError)) throw error;
        // A renewal that was asked for and not answered may have been done.
        const unsure = method === 'POST' && error.status === 0;
        const waitMs = error.retryAfterMs ?? pauseMs;
        if (!error.mayPass || unsure || performance.now() + waitMs > giveUpAt) throw error;
        await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
    }
  }

  async #callOnce(method, path) {
    let response;
    let data;
    try {
      response = await fetch(this.#baseUrl + path, {
        method,
        headers: { Authorization: `Bearer ${this.#key}`, Accept: 'application/json' },
        // The key is for WhatReach alone, so it is sent nowhere else.
        redirect: 'manual',
        signal: AbortSignal.timeout(this.#options.timeoutMs),
      });
      data = await response.json().catch(() => null);
    } catch (error) {
      throw new WhatReachError('not_reached', `no answer (${error.name})`);
    }
    if (response.ok && data) return data;
    if (response.ok) throw new WhatReachError('not_reached', 'the answer is not JSON');
    throw errorOf(response, data ?? {});
  }
}

function errorOf(response, data) {
  const header = response.headers.get('Retry-After');
  const toldS = data.retry_after ?? (/^\d+$/.test(header ?? '') ? Number(header) : null);
  return new WhatReachError(
    data.error ?? `http_${response.status}`,
    data.details ?? `HTTP ${response.status}`,
    {
      status: response.status,
      whoActs: data.who_acts ?? 'operator',
      retryAfterMs: toldS === null ? null : toldS * 1000,
    },
  );
}
