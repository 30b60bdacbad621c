"""The whole path on pictures that come with the wheels: `luab-train demo`."""
