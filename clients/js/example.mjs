// List the accounts that the key may see, and read each sub-account's record from HighLevel.
//
//   WHATREACH_URL=https://whatreach.example.com WHATREACH_KEY=wr_… node example.mjs

import { WhatReach, WhatReachError } from './whatreach.mjs';

const { WHATREACH_URL, WHATREACH_KEY } = process.env;
const HIGHLEVEL = process.env.HIGHLEVEL_URL ?? 'https://services.leadconnectorhq.com';

const whatreach = new WhatReach(WHATREACH_URL, WHATREACH_KEY);

for await (const install of whatreach.installs()) {
  if (!install.location_id) continue;
  try {
    const token = await whatreach.token(install.id);
    console.log((await readLocation(install.location_id, token)).name);
  } catch (error) {
    if (!(error instanceof WhatReachError)) throw error;
    console.log(`${install.location_name}: ${error.details} (${error.whoActs} acts)`);
  }
}

async function readLocation(locationId, token) {
  const response = await fetch(`${HIGHLEVEL}/locations/${locationId}`, {
    headers: { Authorization: `Bearer ${token}`, Version: '2021-07-28' },
  });
  if (!response.ok) throw new Error(`HighLevel answered ${response.status}`);
  return (await response.json()).location;
}
