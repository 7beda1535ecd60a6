"""A small shop: product page, cart that holds, checkout that confirms, webhooks that keep it up to date."""
