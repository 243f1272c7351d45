"""WhatReach and HighLevel's two official SDKs against the sandbox: docs/comparison.md."""
